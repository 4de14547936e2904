/** What a person who steers the run may ask for. */
import type { Conductor } from '@troupe/conductor';
import { brief, LIMITS, printable } from '@troupe/protocol';
import type { ControlReply } from '@troupe/run';
import * as v from 'valibot';
import type { Report } from '../reporter.js';
import { ApiFailure } from '../server/http.js';

const reason = v.optional(v.pipe(v.string(), v.maxLength(LIMITS.reasonLength)));
const workerId = v.pipe(v.string(), v.regex(/^[\w-]{1,64}$/));
/** As TrainingConfig has them; a rate of 0 would compute for nothing. */
const rate = v.pipe(v.number(), v.finite(), v.gtValue(0), v.maxValue(1000));
const norm = v.pipe(v.number(), v.finite(), v.minValue(0), v.maxValue(1e9));

const ControlSchema = v.variant('action', [
  v.strictObject({ action: v.picklist(['pause', 'resume', 'checkpoint', 'stop']) }),
  v.strictObject({ action: v.picklist(['kick', 'ban']), workerId, reason }),
  v.strictObject({ action: v.literal('set'), learningRate: v.optional(rate), clip: v.optional(norm) }),
]);
type Order = v.InferOutput<typeof ControlSchema>;

/** By whom a run is paused that a person has paused. */
const BY = 'admin';

export interface ControlOptions {
  readonly conductor: Conductor;
  readonly reproducible: boolean;
  readonly report: Report;
}

/** Carries out the body of a request. @throws ApiFailure 400, 404, 409, 500 */
export type Control = (body: unknown) => Promise<ControlReply>;

export function createControl({ conductor, reproducible, report }: ControlOptions): Control {
  let saving: Promise<ControlReply> | undefined;

  return async (body) => {
    const order = parse(body);
    const { phase, round } = conductor.status();
    if (phase === 'over') throw conflict('run_over', 'the run is over', 'Start it anew with --resume and more --rounds.');
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
        // Who asks while one is being written means that one.
        saving ??= saveNow(conductor, done).finally(() => (saving = undefined));
        return saving;
      case 'stop':
        conductor.feed({ type: 'stop' });
        return done('stopped: the run is saved and ends');
      case 'kick':
      case 'ban':
        return remove(order, conductor, done);
      case 'set':
        if (!reproducible) return tune(order, conductor, done);
        throw conflict('reproducible', 'a reproducible run depends on nothing but its config', 'Start another one.');
      default:
        return order satisfies never;
    }
  }
}

type Done = (text: string) => ControlReply;

function hold(action: 'pause' | 'resume', conductor: Conductor, done: Done): ControlReply {
  const paused = conductor.status().pausedBy.includes(BY);
  if (action === 'pause') {
    if (paused) throw conflict('paused', 'the run is paused already', 'Resume it when it is to go on.');
    conductor.feed({ type: 'pause', by: BY });
    return done('paused: what is being computed still counts');
  }
  if (!paused) throw conflict('not_paused', 'nobody has paused the run', 'There is nothing to do.');
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
    'The log says why: make room, or make the folder writable.',
  );
}

function remove(order: Extract<Order, { workerId: string }>, conductor: Conductor, done: Done): ControlReply {
  const given = printable(order.reason?.trim() ?? '');
  const why = given === '' ? '' : `: ${given}`;
  const banned = order.action === 'ban';
  const name = conductor.remove(order.workerId, brief(`${banned ? 'shut out' : 'sent away'} by an admin${why}`), banned);
  if (name !== undefined) return done(`${name} was ${banned ? 'shut out' : 'sent away'}${why}`);
  throw new ApiFailure(
    404,
    'no_such_worker',
    `no worker ${order.workerId} is there`,
    'It may have left meanwhile; see /api/run.',
  );
}

function tune({ learningRate, clip }: Extract<Order, { action: 'set' }>, conductor: Conductor, done: Done): ControlReply {
  const knobs = { ...(learningRate === undefined ? {} : { learningRate }), ...(clip === undefined ? {} : { clip }) };
  const told = [
    ...(learningRate === undefined ? [] : [`learning rate ${learningRate}`]),
    ...(clip === undefined ? [] : [clip === 0 ? 'no clipping' : `clip ${clip}`]),
  ];
  if (told.length === 0) throw bad('set: neither learningRate nor clip is given');
  conductor.tune(knobs);
  return done(`from the next round on: ${told.join(', ')}`);
}

function parse(body: unknown): Order {
  const result = v.safeParse(ControlSchema, body);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw bad(`${v.getDotPath(issue) ?? 'the body'}: ${issue.message}`);
}

function bad(message: string): ApiFailure {
  return new ApiFailure(400, 'bad_request', message, 'See /api/openapi.json for what may be asked.');
}

function conflict(code: string, message: string, remedy: string): ApiFailure {
  return new ApiFailure(409, code, message, remedy);
}
