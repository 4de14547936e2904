/** Troupe's wasm engine against PyTorch on one thread. */
import { ALL_SIZES, describeSize } from '../configs.mjs';
import { race, ratioOf } from '../contestant.mjs';
import { PYTHON, whyNoFastTorch } from '../python.mjs';
import { count, decimal } from '../report.mjs';
import { troupe } from './engine.mjs';

export const title = 'Against PyTorch';
export const about =
  'Forward and backward pass of the same model in PyTorch on one thread: one-hot input, nn.LSTM, nn.Linear, cross_entropy; in ' +
  'turn with the wasm engine on one core. PyTorch runs native AVX2 code (256 bits at a time), WebAssembly has 128; a ratio of 1 ' +
  'means as fast as PyTorch.';

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
  const rows = [];
  const data = [];
  for (const size of quick ? ALL_SIZES.slice(0, 2) : ALL_SIZES) {
    progress(describeSize(size));
    const { scores } = await race([troupe(size, false), torch(size)], { quick, repetitions: quick ? 2 : 7 });
    const [ours, theirs] = scores;
    const ratio = ratioOf(ours, theirs);
    rows.push([
      describeSize(size),
      count(ours.charsPerSecond),
      count(theirs.charsPerSecond),
      `${decimal(ratio, 2)}x`,
      ours.detail,
      theirs.detail,
    ]);
    data.push({ ...size, ratio, troupe: ours, torch: theirs });
  }
  return {
    tables: [{ head: ['Model', 'Troupe, chars/s', 'PyTorch, chars/s', 'Troupe / PyTorch', 'Engine', 'PyTorch'], rows }],
    goals: [],
    notes: [
      'Releases of PyTorch differ, and so does the BLAS beneath ("GEMM": a 1024 x 1024 product on one thread); TROUPE_PYTHON chooses another.',
    ],
    data,
  };
}
