/** What the coordinator knows about the honesty of a worker, in words. */
import type { WorkerView } from '@troupe/run';
import type { Texts } from '../texts.js';
import type { Format } from './format.js';
import type { PeerMark } from './peers.js';

/** Beside the state of a volunteer. `label` is empty for a worker that is trusted. */
export function auditMark({ audits, state }: Pick<WorkerView, 'audits' | 'state'>, texts: Texts, format: Format): PeerMark {
  if (!audits || state === 'left') return { label: '', what: '' };
  const passed = format.whole(audits.passed);
  return audits.onProbation
    ? { label: texts.onProbation, what: texts.onProbationWhat(passed) }
    : { label: texts.audited(passed), what: texts.auditedWhat(passed) };
}
