/** The coordinator's auditor: the reference engine in simulated time. */
import { differenceOf } from '@troupe/collective';
import type { AuditFinding, AuditJob, Auditor, VerifyJob } from '@troupe/conductor';
import { createLayout, stateSize } from '@troupe/model';
import { createReferenceEngine } from '@troupe/model/reference';
import type { TrainingConfig } from '@troupe/protocol';
import type { Host } from './host.js';

const CHARS_PER_SECOND = 500;

export function createSimulatedAuditor(config: TrainingConfig, host: Host): Auditor {
  const { model, streams, window, codec, seed, leaseStreams } = config;
  const tensorSizes = createLayout(model).tensors.map(({ size }) => size);
  const shape = { codec, seed, tensorSizes, stateFloats: stateSize(model) };
  const engine = createReferenceEngine(model, { maxStreams: streams, maxWindow: window });
  let queue: Promise<unknown> = Promise.resolve();
  const audit = async ({ parameters, batch, claim }: AuditJob): Promise<AuditFinding> => {
    await host.sleep((batch.streams * batch.window * 1000) / CHARS_PER_SECOND);
    engine.setParameters(parameters);
    const reason = differenceOf(shape, claim, await engine.gradient(batch), leaseStreams > 0);
    return reason === undefined ? { verdict: 'sound', reason: '' } : { verdict: 'wrong', reason };
  };
  const verify = async ({ parameters, batch }: VerifyJob): Promise<boolean> => {
    await host.sleep((batch.streams * batch.window * 1000) / CHARS_PER_SECOND);
    engine.setParameters(parameters);
    return engine.gradient(batch).then(
      () => true,
      () => false,
    );
  };
  const inTurn = <T>(job: () => Promise<T>): Promise<T> => {
    const done = queue.then(job);
    queue = done.catch(() => undefined);
    return done;
  };
  return { audit: (job) => inTurn(() => audit(job)), verify: (job) => inTurn(() => verify(job)) };
}
