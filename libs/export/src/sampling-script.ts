/**
 * A script for Node that writes text with an exported model.
 * @param model code that defines `firstState()` and `async step(id, state)`, which returns `{ logits, state }`
 */
export function samplingScript(model: string): string {
  return `// Writes text with the model: node sample.mjs --prime "Shall I " --length 500
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';

const { values: flags } = parseArgs({
  options: {
    // Start of the text; by default a line break, which is not printed.
    prime: { type: 'string', default: '' },
    // Characters to write.
    length: { type: 'string', default: '500' },
    // Below 1 the text is safer, above 1 wilder; 0 always takes the most likely character.
    temperature: { type: 'string', default: '0.8' },
    // Another seed gives another text.
    seed: { type: 'string', default: '1' },
  },
});
const vocabulary = JSON.parse(await readFile(new URL('vocabulary.json', import.meta.url), 'utf8'));

${model}
/** Numbers in [0, 1) from a seed: mulberry32. */
function createRandom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let word = Math.imul(state ^ (state >>> 15), state | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return ((word ^ (word >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** An id drawn from softmax(logits / temperature). */
function draw(logits, temperature, random) {
  const greatest = Math.max(...logits);
  if (temperature === 0) return logits.indexOf(greatest);
  const masses = Array.from(logits, (logit) => Math.exp((logit - greatest) / temperature));
  let left = random() * masses.reduce((sum, mass) => sum + mass, 0);
  const chosen = masses.findIndex((mass) => (left -= mass) < 0);
  return chosen < 0 ? masses.length - 1 : chosen;
}

const unknown = [...flags.prime].filter((character) => !vocabulary.includes(character));
if (unknown.length > 0) throw new Error('the model does not know the characters ' + JSON.stringify(unknown.join('')));
const prime = flags.prime || (vocabulary.includes('\\n') ? '\\n' : vocabulary[0]);
const random = createRandom(Number(flags.seed));
process.stdout.write(flags.prime);
let [state, logits] = [firstState(), []];
for (const character of prime) ({ logits, state } = await step(vocabulary.indexOf(character), state));
for (let written = 0; written < Number(flags.length); written++) {
  const id = draw(logits, Number(flags.temperature), random);
  process.stdout.write(vocabulary[id]);
  ({ logits, state } = await step(id, state));
}
process.stdout.write('\\n');
`;
}
