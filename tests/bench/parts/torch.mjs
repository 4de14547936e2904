/** Troupe's CPU engines against PyTorch, one thread each. */
import { ALL_SIZES, describeSize, flops } from '../configs.mjs';
import { race, ratioOf } from '../contestant.mjs';
import { PYTHON, whyNoFastTorch } from '../python.mjs';
import { count, decimal } from '../report.mjs';
import { enginesHere, troupe } from './engine.mjs';

export const title = 'Against PyTorch';
export const about =
  'The forward and backward pass of the same model in PyTorch on one thread (one-hot input, nn.LSTM, nn.Linear, ' +
  'cross_entropy), in turn with our engines on one core. A ratio above 1 means faster than PyTorch. PyTorch and the native ' +
  'engine compute with 256 or 512 bits at a time, WebAssembly with 128. GFLOP/s are those of the matrix products of the ' +
  'model. GEMM is the speed of one large product in the BLAS of PyTorch. It shows what the core can do: the roofline.';

/** @type {Readonly<Record<string, readonly number[]>>} the least ratio to PyTorch, for each size */
const GOALS = { native: [1.5, 1.5, 1.1, 1.1], wasm: [1, 0.9, 0.75, 0.65] };

const LIMITS =
  "What limits them: WebAssembly multiplies 128 bits at a time, so it can reach at most about half of the GEMM figure, and it comes close. Going further takes fewer products, which is why weight gradients use Strassen's method. The native engine is near the core's limit. The rest goes into gates (a tenth of the time in the smallest model) and into recurrent products of few rows.";

/** @param {import('../configs.mjs').Size} size @returns {import('../contestant.mjs').Entry} */
function torch(size) {
  const script = new URL('../contestants/torch_step.py', import.meta.url).pathname;
  const env = { OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1', MKL_NUM_THREADS: '1' };
  return { name: 'PyTorch', command: [PYTHON, script], env, size, trains: false };
}

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const skipped = whyNoFastTorch();
  if (skipped !== undefined) return { skipped };
  const { present, notes } = await enginesHere(['native', 'wasm']);
  const rows = [];
  const goals = [];
  const data = [];
  for (const [at, size] of (quick ? ALL_SIZES.slice(0, 2) : ALL_SIZES).entries()) {
    progress(describeSize(size));
    const entries = [...present.map((engine) => troupe(engine, size)), torch(size)];
    const { scores } = await race(entries, { quick, repetitions: quick ? 2 : 7 });
    const theirs = scores[present.length];
    for (const [i, score] of scores.entries()) {
      const ratio = ratioOf(score, theirs);
      const gflops = flops(size) / score.stepMs / 1e6;
      rows.push([describeSize(size), score.detail, count(score.charsPerSecond), decimal(gflops, 1), `${decimal(ratio, 2)}x`]);
      if (i === present.length) continue;
      const goal = GOALS[present[i]][at];
      const text = `${present[i]} at ${describeSize(size)}: ${decimal(ratio, 2)}x PyTorch (goal: at least ${goal}x)`;
      goals.push({ text, met: ratio >= goal, binding: false });
      data.push({ ...size, engine: present[i], ratio, gflops, troupe: score, torch: theirs });
    }
  }
  return {
    tables: [{ head: ['Model', 'What ran', 'chars/s', 'GFLOP/s', 'Times PyTorch'], rows }],
    goals,
    notes: [
      ...notes,
      LIMITS,
      'Releases of PyTorch differ, and so do their BLAS libraries. TROUPE_PYTHON chooses another Python.',
    ],
    data,
  };
}
