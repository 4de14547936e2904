/** Which worker may contribute for which streams. */
import { ProtocolError, type AuditMode, type MessageOf } from '@troupe/protocol';

export type RoundOrder = Omit<MessageOf<'openRound'>, 'type'>;
export interface Grant extends Omit<MessageOf<'grant'>, 'type' | 'audit'> {
  /** Absent: none. */
  readonly audit?: AuditMode;
}

/** A contribution, among those of a round. */
export type ContributionKey = Pick<Grant, 'round' | 'leaseId' | 'workerId'>;

/** The same for every range of a contribution. */
export const keyOf = ({ leaseId, workerId }: ContributionKey): string => `${workerId} ${leaseId}`;

/** Whether the coordinator needs a copy of what is contributed for it. */
export function isAudited(grant: Grant | undefined): boolean {
  return (grant?.audit ?? 'none') !== 'none';
}

/**
 * What becomes of a contribution under this grant.
 * @param norm of its gradient sum per character; undefined: nobody asked for it
 */
export function auditModeOf({ audit = 'none', mostNorm = Infinity }: Grant, norm: number | undefined): AuditMode {
  return norm !== undefined && norm > mostNorm ? 'hold' : audit;
}

/** The grants of the round that is open. */
export interface Grants {
  /** The open round; -1 before the first. */
  readonly round: number;
  /** Drops those of earlier rounds. */
  openRound(round: number): void;
  /**
   * A worker may contribute for these streams in the open round. A grant for a finished round is ignored: it may have crossed with
   * the update.
   * @throws ProtocolError `invalid_message` (a stream twice or out of range), `unexpected_message` (a round not yet open)
   */
  grant(grant: Grant): void;
  /** Undefined: this worker has no such lease in the open round, or has spent it. */
  find(key: ContributionKey): Grant | undefined;
  /** A contribution was refused: what comes again under this lease does not count, because parts of the first may still be on their way. */
  spend(key: Pick<ContributionKey, 'round' | 'leaseId'>): void;
  /** Whether the lease is unknown but may still be granted: its round is open or in the future. */
  mayCome(key: Pick<ContributionKey, 'round' | 'leaseId'>): boolean;
}

/** @param streams B */
export function createGrants(streams: number): Grants {
  const grants = new Map<string, Grant>();
  const spent = new Set<string>();
  let open = -1;
  return {
    get round() {
      return open;
    },
    openRound(round) {
      open = round;
      grants.clear();
      spent.clear();
    },
    grant(grant) {
      checkStreams(grant, streams);
      if (grant.round > open) {
        throw new ProtocolError(
          'unexpected_message',
          `a grant for round ${grant.round} while round ${open} is open`,
          'Open the round before granting in it.',
        );
      }
      if (grant.round === open) grants.set(grant.leaseId, grant);
    },
    find({ round, leaseId, workerId }) {
      const grant = round === open ? grants.get(leaseId) : undefined;
      return grant?.workerId === workerId && !spent.has(leaseId) ? grant : undefined;
    },
    spend({ round, leaseId }) {
      if (round === open) spent.add(leaseId);
    },
    mayCome: ({ round, leaseId }) => round > open || (round === open && !grants.has(leaseId)),
  };
}

function checkStreams(grant: Grant, streams: number): void {
  if (new Set(grant.streams).size === grant.streams.length && grant.streams.every((stream) => stream < streams)) return;
  throw new ProtocolError(
    'invalid_message',
    `the grant of lease ${grant.leaseId} names a stream twice or a stream beyond ${streams - 1}`,
    'This is a bug in the coordinator: report it. If the run has saved a checkpoint, continue from it with --resume.',
  );
}
