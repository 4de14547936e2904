/** The runs that are compared. */

/** @typedef {{ readonly name: string, readonly flags: readonly string[] }} Trial */

/** @param {string} name @param {string} flags @returns {Trial} */
const of = (name, flags) => ({ name, flags: flags.split(' ') });

const at = (/** @type {number} */ rate) => `--layer-norm --ema=0.99 --clip=1 --lr=${rate}`;
const REGULAR = at(0.01);

/** For the sonnets. @type {readonly Trial[]} */
export const SONNETS = [
  of('plain', '--layers=1 --hidden=256 --rounds=1500 --lr=0.01 --clip=5'),
  of('1x256', `--layers=1 --hidden=256 --rounds=1500 ${REGULAR} --dropout-output=0.3`),
  of('2x128', `--layers=2 --hidden=128 --rounds=2040 ${REGULAR} --dropout=0.2 --dropout-output=0.2`),
  of('2x192', `--layers=2 --hidden=192 --rounds=920 ${REGULAR} --dropout=0.3 --dropout-output=0.3`),
  of('2x192, more dropout', `--layers=2 --hidden=192 --rounds=920 ${REGULAR} --dropout=0.4 --dropout-output=0.4`),
  of('2x192, half the rate', `--layers=2 --hidden=192 --rounds=920 ${at(0.005)} --dropout=0.3 --dropout-output=0.3`),
  of('2x192, twice the rate', `--layers=2 --hidden=192 --rounds=920 ${at(0.02)} --dropout=0.3 --dropout-output=0.3`),
  of('2x192, half the batch', `--layers=2 --hidden=192 --batch=16 --rounds=1840 ${REGULAR} --dropout=0.3 --dropout-output=0.3`),
  of('2x256', `--layers=2 --hidden=256 --rounds=520 ${REGULAR} --dropout=0.3 --dropout-output=0.3`),
];

const BASE = {
  layers: 2,
  hidden: 128,
  rounds: 1500,
  'layer-norm': '',
  dropout: 0.2,
  'dropout-output': 0.2,
  ema: 0.995,
  clip: 1,
  lr: 0.008,
};

/** BASE with changes; undefined leaves a flag out. @param {string} name @param {Record<string, string | number | undefined>} changes */
function varied(name, changes) {
  const flags = Object.entries({ ...BASE, ...changes }).filter(([, value]) => value !== undefined);
  return { name, flags: flags.map(([flag, value]) => (value === '' ? `--${flag}` : `--${flag}=${value}`)) };
}

/** For tiny-shakespeare; the first one is the base. @type {readonly Trial[]} */
export const FLAGS = [
  varied('base', {}),
  varied('no layer norm', { 'layer-norm': undefined }),
  varied('no output dropout', { 'dropout-output': 0 }),
  varied('clip 5', { clip: 5 }),
  varied('weight decay 0.05', { optimizer: 'adamw', 'weight-decay': 0.05 }),
  varied('half the batch', { batch: 16, rounds: 3000 }),
  varied('twice the rate', { lr: 0.016 }),
  varied('twice the window', { window: 128, rounds: 750 }),
  varied('no dropout', { dropout: 0, 'dropout-output': 0 }),
];
