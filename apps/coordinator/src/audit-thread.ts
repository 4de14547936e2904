/** The thread behind auditor.ts. It does one audit after another. */
import { parentPort, workerData } from 'node:worker_threads';
import { claimOf, differenceOf, distanceOf, trackVerdict, type Recomputed } from '@troupe/collective';
import type { AuditFinding, AuditJob, VerifyJob } from '@troupe/conductor';
import { openEngine } from '@troupe/engines/node';
import { EngineError, takeLocalSteps, type Batch, type Engine } from '@troupe/model';
import { createReplica, type Replica } from '@troupe/optim';
import type { AuditData, AuditReply, AuditRequest } from './auditor.js';

const { model, shape, window, optimizer, maxStreams, reproducible } = workerData as AuditData;
const port = parentPort!;
const limits = { maxStreams, maxWindow: window };
/** A few units in the last place of a float32. */
const PERTURBATION = 2 ** -21;

let engine: Promise<Engine> | undefined;
/** The optimizer of tracks, in a local run. */
let inner: Replica | undefined;
/** Its code has nothing in common with that of the native engine. Where that is absent, another instance computes a second time. */
let second: Promise<Engine> | undefined;

function open(name: 'auto' | 'wasm'): Promise<Engine> {
  return openEngine(name, model, limits, { among: ['native', 'wasm'], nowMs: () => performance.now(), reproducible });
}

/** Nobody is banned because of one computation: a second one decides. */
async function find(job: AuditJob): Promise<AuditFinding> {
  engine ??= open('auto');
  const computed = await compute(await engine, job);
  const first = differenceOf(shape, job.claim, computed, reproducible);
  if (first === undefined) return { verdict: 'sound', reason: '' };
  second ??= open('wasm');
  const again = await compute(await second, job);
  if (job.local && !reproducible) return findInTrack(job, computed, again, await second);
  const reason = differenceOf(shape, job.claim, again, reproducible);
  if (reason !== undefined && (reproducible || (await isStable(await second, job, again)))) return { verdict: 'wrong', reason };
  if (reason !== undefined) return { verdict: 'unknown', reason: 'rounding alone changes this gradient as much' };
  return { verdict: 'unknown', reason: `two computations of the coordinator differ: by the first, ${first}` };
}

/** The closer of both computations counts. */
async function findInTrack(job: AuditJob, computed: Recomputed, again: Recomputed, engine: Engine): Promise<AuditFinding> {
  const distance = Math.min(distanceOf(shape, job.claim, computed), distanceOf(shape, job.claim, again));
  const probe = distanceOf(shape, claimOf(shape, job.claim, await computePerturbed(engine, job)), again);
  const verdict = trackVerdict(distance, probe);
  if (verdict === 'sound') return { verdict, reason: '' };
  return { verdict, reason: `its track is off by ${(100 * distance).toPrecision(3)} % of the way that it went` };
}

/** In a chaotic network honest engines differ as much as lies do. Parameters that differ in the last bits show whether this one is. */
async function isStable(engine: Engine, job: AuditJob, computed: Recomputed): Promise<boolean> {
  const perturbed = await computePerturbed(engine, job);
  return differenceOf(shape, claimOf(shape, job.claim, perturbed), computed, false) === undefined;
}

function computePerturbed(engine: Engine, job: AuditJob): Promise<Recomputed> {
  const parameters = job.parameters.map((value, i) => value * (1 + (i % 2 === 0 ? 1 : -1) * PERTURBATION));
  return compute(engine, { ...job, parameters });
}

/** A large lease is computed in parts, which are summed in float64; a track cannot be divided. */
async function compute(engine: Engine, job: VerifyJob): Promise<Recomputed> {
  const { parameters } = job;
  engine.setParameters(parameters);
  if (job.local) {
    inner ??= createReplica({ size: parameters.length, optimizer });
    return (await takeLocalSteps(parameters, job.local, { engine, optimizer: inner }))!;
  }
  const { batch } = job;
  if (batch.streams <= maxStreams) {
    const { gradient, endStates, lossSum } = await engine.gradient(batch);
    return { gradient: gradient.slice(), endStates: endStates.slice(), lossSum };
  }
  const sum = new Float64Array(parameters.length);
  const endStates = new Float32Array(batch.states.length);
  let lossSum = 0;
  for (let from = 0; from < batch.streams; from += maxStreams) {
    const part = await engine.gradient(partOf(batch, from, Math.min(from + maxStreams, batch.streams)));
    for (let i = 0; i < sum.length; i++) sum[i] += part.gradient[i];
    endStates.set(part.endStates, (from * batch.states.length) / batch.streams);
    lossSum += part.lossSum;
  }
  return { gradient: Float32Array.from(sum), endStates, lossSum };
}

/** The streams [from, to). */
function partOf({ streams, tokens, states, dropout }: Batch, from: number, to: number): Batch {
  const floats = states.length / streams;
  return {
    streams: to - from,
    window,
    tokens: tokens.subarray(from * (window + 1), to * (window + 1)),
    states: states.subarray(from * floats, to * floats),
    ...(dropout && { dropout: { ...dropout, streams: dropout.streams.subarray(from, to) } }),
  };
}

/** Only if two engines say that it is not, it is not. */
async function isFiniteGradient(job: VerifyJob): Promise<boolean> {
  engine ??= open('auto');
  second ??= open('wasm');
  return (await computes(await engine, job)) || (await computes(await second, job));
}

async function computes(engine: Engine, job: VerifyJob): Promise<boolean> {
  try {
    await compute(engine, job);
    return true;
  } catch (error) {
    if (error instanceof EngineError && error.code === 'not_finite') return false;
    throw error;
  }
}

async function carryOut(request: AuditRequest): Promise<void> {
  const { id } = request;
  let reply: AuditReply;
  try {
    reply =
      request.kind === 'audit'
        ? { id, kind: 'audited', ...(await find(request)) }
        : { id, kind: 'verified', finite: await isFiniteGradient(request) };
  } catch (error) {
    [engine, second] = [undefined, undefined];
    reply = { id, kind: 'failed', message: (error as Error).message };
  }
  port.postMessage(reply);
}

let jobs = Promise.resolve();
port.on('message', (request: AuditRequest) => {
  jobs = jobs.then(() => carryOut(request));
});
