/** The training config with which a run is resumed. */
import {
  FLAG_FIELDS,
  firstWindow,
  isLocal,
  saidOfRounds,
  valueAt,
  withOtherRounds,
  type FlagField,
  type SaidOfRounds,
  type TrainingConfig,
} from '@troupe/config';
import { checkTraining, SettingsError, type Settings } from './settings.js';

type Given = ReadonlyMap<string, string>;

/** What a resume changes of the training config, and why a person should know. */
export interface ResumedTraining {
  readonly config: TrainingConfig;
  readonly notes: readonly string[];
  /** For the next resume. Undefined: the config says it. */
  readonly said?: SaidOfRounds | undefined;
}

/** A run as its checkpoint has it. */
interface Stored {
  readonly config: TrainingConfig;
  /** Undefined if its rounds were never changed, or by a release that did not store it. */
  readonly said: SaidOfRounds | undefined;
}

/**
 * The config with which a run continues: that of the checkpoint. --rounds and --lr-rounds may change, what a person may change during the
 * run, and how many windows a round has: --local-steps, with what belongs to it. Any other flag that differs is an error, because the
 * result would no longer be that of one run.
 * @param round of the checkpoint
 * @param then the flags with which the run was started or last resumed
 * @throws SettingsError
 */
export function resumeTraining(
  stored: TrainingConfig,
  { given }: Pick<Settings, 'given'>,
  round: number,
  then: Given = new Map(),
  said?: SaidOfRounds,
): ResumedTraining {
  const isOther = hasOtherRounds(stored, given);
  const before = { config: stored, said: stored.changedRound === 0 ? saidOfRounds(stored) : said };
  const news = newsOf(before, given);
  for (const field of FLAG_FIELDS) {
    if (!isOther || !WITH_OTHER_ROUNDS.includes(field.flag)) checkUnchanged(field, before, given);
  }
  if (given.has('--reproducible') && stored.leaseStreams === 0) throw withoutSwitch('--reproducible');
  const base = isOther ? takeOtherRounds(stored, given, news, round) : stored;
  const tuned = tune(base, given, then);
  const extended = reschedule(tuned.config, news, given);
  const config = checkTraining(extended.config);
  const kept = describeKept(stored, given, news);
  return {
    config,
    notes: isOther ? [describeOtherRounds(stored, config, round), ...tuned.notes] : [...tuned.notes, ...kept, ...extended.notes],
    ...(config.changedRound > 0 && { said: { ...(before.said ?? { ...saidOfRounds(stored), localSteps: 1 }), ...news } }),
  };
}

/** Values that this resume changes among the flags that follow the rounds: those in the config, and those given before, are no news. */
type News = Partial<Omit<SaidOfRounds, 'localSteps'>>;

function newsOf({ config, said }: Stored, given: Given): News {
  const changed = (name: keyof News, flag: string, current?: number): News => {
    const value = Number(given.get(flag));
    return !given.has(flag) || value === current || value === said?.[name] ? {} : { [name]: value };
  };
  return {
    ...changed('rounds', '--rounds', config.rounds),
    ...changed('ema', '--ema', config.ema),
    ...changed('decayRounds', '--lr-rounds'),
  };
}

/** A service manager gives the same flags at every start. */
function describeKept({ rounds, ema }: TrainingConfig, given: Given, news: News): string[] {
  const kept = (flag: string, name: keyof News, value: number): string[] =>
    name in news || !differs(given, flag, value)
      ? []
      : [
          `${flag} ${given.get(flag)} was said of the rounds before they changed, and has become ${value}. Another value changes it.`,
        ];
  return [...kept('--rounds', 'rounds', rounds), ...kept('--ema', 'ema', ema)];
}

/** Flags that may have another value in a resume that changes what a round is; the first ones only have to be set. */
const SET_WITH_THEM: readonly string[] = ['--outer-lr', '--outer-momentum', '--codec'];
const WITH_OTHER_ROUNDS: readonly string[] = [
  ...['--local-steps', '--tracks', '--lease-streams', '--lr', '--clip', '--ema'],
  ...SET_WITH_THEM,
];

function hasOtherRounds(stored: TrainingConfig, given: Given): boolean {
  return differs(given, '--local-steps', stored.localSteps) || differs(given, '--tracks', stored.tracks);
}

function differs(given: Given, flag: string, then: number): boolean {
  return given.has(flag) && Number(given.get(flag)) !== then;
}

/** A flag that is typed as it was, or as it was said before, is what the run had, and follows the rounds. Another value counts as it is. */
function takeOtherRounds(stored: TrainingConfig, given: Given, { ema }: News, round: number): TrainingConfig {
  if (round === 0) {
    throw new SettingsError(
      'the run to resume has no complete round, so there is nothing that could go on with other rounds',
      'Start a new run with another --out and without --resume.',
    );
  }
  const whole = (flag: string): number | undefined => (given.has(flag) ? Number(given.get(flag)) : undefined);
  const localSteps = whole('--local-steps') ?? stored.localSteps;
  if (localSteps < 1)
    throw new SettingsError('--local-steps 0 leaves no window in a round', 'Give 1 for exact rounds, or say 32.');
  const config = withOtherRounds(stored, round, {
    localSteps,
    tracks: whole('--tracks'),
    leaseStreams: whole('--lease-streams'),
  });
  return {
    ...config,
    ...usualFor(config, stored, given),
    ...Object.fromEntries(FLAG_FIELDS.flatMap((field) => setWithThem(field, stored, given))),
    ...(ema !== undefined && { ema }),
  };
}

/** What only the other kind of round used, or is made for it, has its default again: the run may be older than that. */
function usualFor(config: TrainingConfig, stored: TrainingConfig, given: Given): Partial<TrainingConfig> {
  if (isLocal(config) === isLocal(stored)) return {};
  const flags = isLocal(config) ? ['--outer-lr', '--outer-momentum'] : stored.codec === 'int8-both' ? ['--codec'] : [];
  const usual = FLAG_FIELDS.filter(({ flag }) => flags.includes(flag) && !given.has(flag));
  return Object.fromEntries(usual.map((field) => [field.field, readAs(field, field.option!.default!)]));
}

function readAs({ option }: FlagField, text: string): string | number {
  return option?.type === 'choice' ? text : Number(text);
}

function setWithThem(each: FlagField, stored: TrainingConfig, given: Given): [string, string | number][] {
  const text = given.get(each.flag);
  if (text === undefined || !SET_WITH_THEM.includes(each.flag)) return [];
  const value = readAs(each, text);
  return value === valueAt(stored, each.field) ? [] : [[each.field, value]];
}

function describeOtherRounds(stored: TrainingConfig, config: TrainingConfig, round: number): string {
  const optimizer = isLocal(stored) === isLocal(config) ? ', the optimizer' : '';
  const afresh = optimizer === '' ? " The optimizer's state fits only the other kind of round, so it starts afresh." : '';
  const codec = config.codec === stored.codec ? '' : ` Gradients travel as ${config.codec}; until now it was ${stored.codec}.`;
  return (
    `From round ${round} on, rounds are ${describeRounds(config)}; until now they were ${describeRounds(stored)}. Parameters, averages${optimizer}, ` +
    `positions and states of the streams, history and credits go on.${afresh} The run now ends at round ${config.rounds} (it was ` +
    `${stored.rounds}), and the learning rate goes on with the characters read.${codec}`
  );
}

function describeRounds(config: TrainingConfig): string {
  return isLocal(config) ? `local, with ${config.localSteps} steps of ${config.tracks} tracks each` : 'exact';
}

/** Learning rate and clip norm, which a person may have changed during the run. */
function tune(stored: TrainingConfig, given: Given, then: Given): ResumedTraining {
  let config = stored;
  const notes: string[] = [];
  for (const { field, flag, tunable } of FLAG_FIELDS) {
    const [now, value] = [given.get(flag), valueAt(stored, field)];
    if (!tunable || now === undefined || Number(now) === value) continue;
    // The command of the start, typed again, does not undo what a person changed since.
    if (then.get(flag) === now) {
      notes.push(`${flag} stays at ${value}, to which it was changed during the run. The dashboard can set it to ${now} again.`);
    } else {
      config = { ...config, [field]: Number(now) };
      notes.push(`${flag} is ${now} from now on; it was ${value}.`);
    }
  }
  return { config, notes };
}

/** Other --rounds change when a run ends, and not its learning rate: under a stretched cosine the rate would jump. */
function reschedule(config: TrainingConfig, news: News, given: Given): ResumedTraining {
  const { rounds = config.rounds } = news;
  const { schedule } = config;
  if (schedule.kind !== 'cosine') return { config: { ...config, rounds }, notes: [] };
  const usual = schedule.decayRounds || (rounds === config.rounds ? 0 : config.rounds);
  const chosen = chosenDecay({ ...config, rounds }, news, given);
  const extended = { ...config, rounds, schedule: { ...schedule, decayRounds: chosen ?? usual } };
  if (chosen !== undefined || rounds === config.rounds) return { config: extended, notes: [] };
  const last = lastDecayRound(config, usual);
  const rate = `the learning rate still reaches its final value at round ${last}`;
  const stay = rounds > last ? ' and stays there' : '';
  return {
    config: extended,
    notes: [
      `The run now has ${rounds} rounds, and ${rate}${stay}. Add --lr-rounds ${rounds} to stretch the schedule over all rounds.`,
    ],
  };
}

/** What --lr-rounds, a number of a round, is for the schedule of the run; undefined: as it was. */
function chosenDecay(config: TrainingConfig, { decayRounds }: News, given: Given): number | undefined {
  const flag = '--lr-rounds';
  if (config.changedRound === 0) return given.has(flag) ? Number(given.get(flag)) : undefined;
  return decayRounds === undefined ? undefined : firstWindow(config, decayRounds || config.rounds);
}

function lastDecayRound({ changedRound, changedWindow, localSteps }: TrainingConfig, decay: number): number {
  return changedRound === 0 ? decay : changedRound + Math.ceil((decay - changedWindow) / localSteps);
}

const CHANGEABLE = ['--rounds', '--lr-rounds'];

/** Of the schedule, which counts windows once the rounds have changed. */
const IN_WINDOWS = ['--warmup', '--lr-step'];

function isAsSaid(flag: string, now: string, then: unknown, said: SaidOfRounds): boolean {
  return IN_WINDOWS.includes(flag) ? Number(now) * said.localSteps === then : flag === '--ema' && Number(now) === said.ema;
}

function checkUnchanged({ field, flag, tunable }: FlagField, { config: stored, said }: Stored, given: Given): void {
  const [then, now] = [valueAt(stored, field), given.get(flag)];
  // The SHA-256 of the text detects another --corpus.
  if (now === undefined || flag === '--corpus') return;
  if (then !== undefined && CHANGEABLE.includes(flag)) return;
  if (tunable && stored.leaseStreams === 0) return;
  const [part] = field.split('.');
  if (then === undefined && (part === 'optimizer' || part === 'schedule'))
    throw notResumed(`${flag} has no effect on the run to resume, which has ${part} ${stored[part].kind}`, flag);
  if (then === undefined || (typeof then === 'number' ? then === Number(now) : String(then) === now)) return;
  if (stored.changedRound > 0 && said && isAsSaid(flag, now, then, said)) return;
  if (typeof then === 'boolean') throw withoutSwitch(flag);
  throw notResumed(`${flag} ${now} differs from the run to resume, which has ${String(then)}`, flag);
}

function withoutSwitch(flag: string): SettingsError {
  return notResumed(`the run to resume was started without ${flag}`, flag);
}

function notResumed(message: string, flag: string): SettingsError {
  return new SettingsError(
    message,
    `Leave ${flag} out to continue that run, or start a new run with another --out and without --resume.`,
  );
}
