/** The orders of a person who controls the run. */
import type { BanList, Conductor } from '@troupe/conductor';
import { parseTrainingConfig, type TrainingConfig } from '@troupe/config';
import { brief, LIMITS, printable } from '@troupe/protocol';
import type { ControlReply } from '@troupe/run';
import * as v from 'valibot';
import { BanIdSchema } from '../bans.js';
import type { GoingBack } from '../going-back.js';
import type { Report } from '../reporter.js';
import { ApiFailure } from '../server/http.js';

const reason = v.optional(v.pipe(v.string(), v.maxLength(LIMITS.reasonLength)));
const workerId = v.pipe(v.string(), v.regex(/^[\w-]{1,64}$/));
/** Ranges are those of the training config; see tune(). */
const knob = v.optional(v.number());

const ControlSchema = v.variant('action', [
  v.strictObject({ action: v.picklist(['pause', 'resume', 'checkpoint', 'stop']) }),
  v.strictObject({ action: v.picklist(['kick', 'ban']), workerId, reason }),
  v.strictObject({ action: v.literal('unban'), ban: BanIdSchema }),
  v.strictObject({ action: v.literal('set'), learningRate: knob, clip: knob }),
  v.strictObject({
    action: v.literal('back'),
    round: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
    learningRate: knob,
  }),
]);
type Order = v.InferOutput<typeof ControlSchema>;

/** The name under which a person pauses a run. */
const BY = 'admin';

export interface ControlOptions {
  readonly conductor: Conductor;
  readonly bans: BanList;
  readonly back: GoingBack;
  readonly reproducible: boolean;
  readonly report: Report;
}

/** Carries out the order in the body of a request. @throws ApiFailure 400, 404, 409, 500 */
export type Control = (body: unknown) => Promise<ControlReply>;

export function createControl({ conductor, bans, back, reproducible, report }: ControlOptions): Control {
  let saving: Promise<ControlReply> | undefined;

  return async (body) => {
    const order = parse(body);
    const { phase, round } = conductor.status();
    if (phase === 'over' && !(order.action === 'back' && back.isPossible))
      throw conflict('run_over', 'the run is over', 'Continue it with --resume and a larger --rounds.');
    return carryOut(order, (text) => {
      report({ event: 'control', round, text });
      return { ok: true, text };
    });
  };

  async function carryOut(order: Order, done: Done): Promise<ControlReply> {
    switch (order.action) {
      case 'pause':
      case 'resume':
        return hold(order.action, conductor, done);
      case 'checkpoint':
        // A second request while a checkpoint is being written gets that checkpoint.
        saving ??= saveNow(conductor, done).finally(() => (saving = undefined));
        return saving;
      case 'stop':
        conductor.feed({ type: 'stop' });
        return done('stopped: the run is saved, then it ends');
      case 'kick':
      case 'ban':
        return remove(order, conductor, done);
      case 'unban':
        return unban(order, bans, done);
      case 'set':
        if (!reproducible) return tune(order, conductor, done);
        throw fixed();
      case 'back':
        if (reproducible && order.learningRate !== undefined) throw fixed();
        return goBack(order, conductor, back, done);
      default:
        return order satisfies never;
    }
  }
}

type Done = (text: string) => ControlReply;

function fixed(): ApiFailure {
  return conflict('reproducible', 'the settings of a reproducible run are fixed', 'Start another run with other settings.');
}

function hold(action: 'pause' | 'resume', conductor: Conductor, done: Done): ControlReply {
  const paused = conductor.status().pausedBy.includes(BY);
  if (action === 'pause') {
    if (paused) throw conflict('paused', 'the run is already paused', 'Resume it to continue training.');
    conductor.feed({ type: 'pause', by: BY });
    return done('paused: results that are already being computed still count');
  }
  if (!paused) throw conflict('not_paused', 'no admin has paused the run', 'Pause it before you resume it.');
  conductor.feed({ type: 'resume', by: BY });
  return done('resumed');
}

async function saveNow(conductor: Conductor, done: Done): Promise<ControlReply> {
  const path = await conductor.save();
  if (path !== undefined) return { ...done('a checkpoint was saved'), path };
  throw new ApiFailure(
    500,
    'not_saved',
    'the checkpoint could not be written',
    'See the log for the reason. Free disk space, or make the folder writable, and try again.',
  );
}

async function goBack(
  { round, learningRate }: Extract<Order, { action: 'back' }>,
  conductor: Conductor,
  back: GoingBack,
  done: Done,
): Promise<ControlReply> {
  const changes = learningRate === undefined ? {} : { learningRate };
  checkKnobs(changes, conductor.status().config);
  const { since, left } = await back.order(round, changes);
  const rate = learningRate === undefined ? '' : ` with learning rate ${learningRate}`;
  return done(`the run goes back from round ${left} to round ${since}${rate}`);
}

function remove(order: Extract<Order, { workerId: string }>, conductor: Conductor, done: Done): ControlReply {
  const given = printable(order.reason?.trim() ?? '');
  const why = given === '' ? '' : `: ${given}`;
  const banned = order.action === 'ban';
  const name = conductor.remove(order.workerId, brief(`${banned ? 'banned' : 'removed'} by an admin${why}`), banned);
  if (name !== undefined) return done(`${name} was ${banned ? 'banned' : 'removed'}${why}`);
  throw new ApiFailure(
    404,
    'no_such_worker',
    `the run has no worker ${order.workerId}`,
    'It may have left; see the list of workers.',
  );
}

function unban({ ban: id }: Extract<Order, { action: 'unban' }>, bans: BanList, done: Done): ControlReply {
  const ban = bans.lift(id);
  if (ban) return done(`the ban of ${ban.name} at ${ban.address} was lifted`);
  throw new ApiFailure(404, 'no_such_ban', `the run has no ban ${id}`, 'It may have been lifted; see GET /api/bans.');
}

type Knobs = Pick<TrainingConfig, 'learningRate' | 'clip'>;

function tune({ learningRate, clip }: Extract<Order, { action: 'set' }>, conductor: Conductor, done: Done): ControlReply {
  const knobs: Partial<Knobs> = {
    ...(learningRate === undefined ? {} : { learningRate }),
    ...(clip === undefined ? {} : { clip }),
  };
  const changes = [
    ...(learningRate === undefined ? [] : [`learning rate ${learningRate}`]),
    ...(clip === undefined ? [] : [clip === 0 ? 'no clipping' : `clip ${clip}`]),
  ];
  if (changes.length === 0) throw bad('set needs learningRate or clip');
  checkKnobs(knobs, conductor.status().config);
  conductor.tune(knobs);
  return done(`from the next round: ${changes.join(', ')}`);
}

/** A learning rate of 0 is valid in a config but would train nothing. @throws ApiFailure 400 */
function checkKnobs(knobs: Partial<Knobs>, config: TrainingConfig): void {
  if (knobs.learningRate === 0) throw bad('learningRate must be greater than 0');
  const result = parseTrainingConfig({ ...config, ...knobs });
  if (!result.ok) throw bad(`${result.field} ${result.problem}`);
}

function parse(body: unknown): Order {
  const result = v.safeParse(ControlSchema, body);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw bad(`${v.getDotPath(issue) ?? 'the body'}: ${issue.message}`);
}

function bad(message: string): ApiFailure {
  return new ApiFailure(400, 'bad_request', message, 'See the API description, /api/openapi.json.');
}

function conflict(code: string, message: string, remedy: string): ApiFailure {
  return new ApiFailure(409, code, message, remedy);
}
