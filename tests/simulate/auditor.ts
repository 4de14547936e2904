/** The coordinator's auditor: the reference engine in simulated time. */
import { differenceOf } from '@troupe/collective';
import type { AuditFinding, AuditJob, Auditor, VerifyJob } from '@troupe/conductor';
import { createLayout, stateSize, takeLocalSteps, type Engine, type Gradient } from '@troupe/model';
import { createReferenceEngine } from '@troupe/model/reference';
import { createReplica } from '@troupe/optim';
import type { TrainingConfig } from '@troupe/protocol';
import type { Host } from './host.js';

const CHARS_PER_SECOND = 500;

export function createSimulatedAuditor(config: TrainingConfig, host: Host): Auditor {
  const { model, streams, window, codec, seed, leaseStreams } = config;
  const tensorSizes = createLayout(model).tensors.map(({ size }) => size);
  const shape = { codec, seed, tensorSizes, stateFloats: stateSize(model) };
  // Few simulations audit anything, and it takes memory.
  let opened: Engine | undefined;
  let queue: Promise<unknown> = Promise.resolve();
  const optimizer = createReplica({ size: createLayout(model).size, optimizer: config.optimizer });
  const compute = async ({ parameters, ...job }: VerifyJob): Promise<Gradient> => {
    const windows = job.local ? job.local.steps : [job.batch];
    const characters = windows.reduce((sum, each) => sum + each.streams * each.window, 0);
    await host.sleep((characters * 1000) / CHARS_PER_SECOND);
    const engine = (opened ??= createReferenceEngine(model, { maxStreams: streams, maxWindow: window }));
    engine.setParameters(parameters);
    return job.local ? (await takeLocalSteps(parameters, job.local, { engine, optimizer }))! : engine.gradient(job.batch);
  };
  const audit = async ({ claim, ...job }: AuditJob): Promise<AuditFinding> => {
    const reason = differenceOf(shape, claim, await compute(job), leaseStreams > 0);
    return reason === undefined ? { verdict: 'sound', reason: '' } : { verdict: 'wrong', reason };
  };
  const verify = (job: VerifyJob): Promise<boolean> =>
    compute(job).then(
      () => true,
      () => false,
    );
  const inTurn = <T>(job: () => Promise<T>): Promise<T> => {
    const done = queue.then(job);
    queue = done.catch(() => undefined);
    return done;
  };
  return { audit: (job) => inTurn(() => audit(job)), verify: (job) => inTurn(() => verify(job)) };
}
