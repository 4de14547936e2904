/** Decides which contributions count, without sums and without sockets. */
import { clipScale, createVectorMemory } from '@troupe/optim';
import { isLostRace, type AuditMode, type ContributionRefusal, type MessageOf } from '@troupe/protocol';
import { floatsAt, type GradientShape } from './codec.js';
import { auditModeOf, createGrants, keyOf, type ContributionKey, type Grant, type Grants, type RoundOrder } from './grants.js';

/** What the all-reduce knows of a run: the vectors to add and the streams they stand for. */
export interface ReductionConfig extends GradientShape {
  readonly runId: string;
  /** B, streams of a round. */
  readonly streams: number;
  /** T, characters per stream and round. */
  readonly window: number;
  /** No hidden state has a larger magnitude; absent or 0: any may. */
  readonly largestState?: number;
  /** Adds gradients in the order of their lowest streams; absent: in the order in which they count. */
  readonly ordered?: boolean;
}

/** A contribution without its gradient. */
export interface OfferedContribution {
  readonly workerId: string;
  readonly message: MessageOf<'contribution'>;
  /** float32 [streams, stateFloats], as they arrived. */
  readonly endStates: Uint8Array;
  /** Of the gradient sum per character, once it is whole and if its grant asks for it. */
  readonly norm?: number | undefined;
}

/** Whether a contribution counts, and why not. */
export interface Verdict extends OfferedContribution {
  readonly kind: 'verdict';
  readonly result: 'counted' | ContributionRefusal;
  /** For people, with the numbers. */
  readonly reason: string;
}

/** A contribution is added to the sum of every range, after those added before. */
export interface Addition extends ContributionKey {
  readonly kind: 'add';
  /** Additions of this round before it. */
  readonly index: number;
  /** The sums are then complete. */
  readonly last: boolean;
}

/** The contribution is whole, and its lease was granted with an audit, or its norm is beyond what was expected: the coordinator gets a copy. */
export interface Audited extends OfferedContribution {
  readonly kind: 'audited';
  /** Nobody has kept a copy for that: its norm is the reason. */
  readonly isUnexpected: boolean;
}

export type Ruling = Verdict | Addition | Audited;

/** What the coordinator says of a contribution that is held. */
export type AuditRule = Omit<MessageOf<'rule'>, 'type'>;

/** What the norm of a finished round decides. */
export interface Finish {
  readonly head: Omit<MessageOf<'update'>, 'type' | 'ranges'>;
  /** The update is float32(sum * factor). */
  readonly factor: number;
}

/**
 * One round is open at a time. A contribution counts when every range of its gradient is where it is summed, and all is valid: exactly
 * once per stream, and nothing invalid touches a sum. When all B streams are counted, the update is the sum of the gradients divided
 * by the number of characters, clipped once by its global L2 norm.
 *
 * The sum is float64. With fp16 it is exact, and so independent of the order of arrival, as long as for each segment the ratio of the
 * largest to the smallest scale in the round times the number of contributions is at most 2^13 (halves span 40 bits). With int8 it is
 * exact as long as that product is at most 2^46 for each block of 256 values (int8 spans 7 bits). With fp32 the order may show in the
 * last bits of the float64 sum. With `ordered`, a gradient that counts before its turn is added when those of all lower streams are:
 * the same leases then always give the same bits.
 */
export interface Ledger {
  /** The round that is open, or was the last; -1 before the first. */
  readonly round: number;
  /** What was added in this round, in order. */
  readonly additions: readonly Addition[];
  /** What counts in this round: what was added, and what waits for its turn. */
  readonly counted: readonly ContributionKey[];
  /**
   * Drops everything granted before, and refuses what waited for its ranges.
   * @param ranges of the gradient in this round, each of which is summed in one place
   */
  openRound(order: RoundOrder, ranges: number): readonly Verdict[];
  /** Streams may be granted more than once: the first result wins. @throws what Grants.grant does */
  grant(grant: Grant): void;
  /** See Grants. */
  readonly grants: Pick<Grants, 'find' | 'mayCome'>;
  /**
   * All but the gradient of a contribution has arrived.
   * @param missing ranges that should have come before it
   */
  offer(offered: OfferedContribution, missing?: readonly string[]): readonly Ruling[];
  /**
   * A range of a contribution is where it is summed; `defect`: it is, but it must not count.
   * @param squares sum of x^2 of the range, if the grant asks for a norm
   */
  hold(range: string, key: ContributionKey, defect?: string, squares?: number): readonly Ruling[];
  /**
   * The coordinator has audited a contribution. Nothing follows unless it is held in the round that is open. If it is held for its norm alone
   * and nobody can tell, it counts: where norms jump, no contribution would.
   */
  rule(rule: AuditRule): readonly Ruling[];
  /** A part of a contribution that is held is lost. */
  lose(key: ContributionKey, reason: string): readonly Ruling[];
  /** Whether what is held of this contribution is needed, or may be: another one under its lease does not change that. */
  needs(key: ContributionKey): boolean;
  /** How many workers' contributions wait for nothing but their ranges, this one among them. */
  waitingFor(range: string): number;
  /** Whether all gradients of the round are added. */
  readonly isComplete: boolean;
  /** What was held of this range is lost. */
  forget(range: string): void;
  /**
   * All streams are counted, and the sums of all ranges complete.
   * @param squares sum of x^2 of each segment of the gradient, in layout order, so that the norm does not depend on where each was summed
   */
  finish(squares: readonly number[]): Finish;
}

export function createLedger(config: ReductionConfig): Ledger {
  return new StreamLedger(config);
}

/** A contribution that waits for the rest of it. */
interface Waiting {
  offered?: OfferedContribution;
  /** By name of the range: the sum of x^2. */
  readonly held: Map<string, number>;
  defect?: string | undefined;
}

interface OpenRound extends RoundOrder {
  readonly ranges: number;
  readonly waiting: Map<string, Waiting>;
  readonly counted: Set<number>;
  readonly losses: { readonly stream: number; readonly lossSum: number }[];
  /** Of `losses`, in order of arrival. */
  lossTotal: number;
  /** The lowest stream that is not counted. */
  missing: number;
  /** Contributions that count and wait for their turn, by lowest stream. */
  readonly retained: Map<number, ContributionKey>;
  readonly additions: Addition[];
  /** Whole contributions that count only once the coordinator says so. */
  readonly audited: Map<string, OfferedContribution>;
}

interface Refusal {
  readonly result: ContributionRefusal;
  readonly reason: string;
}

class StreamLedger implements Ledger {
  readonly grants: Grants;
  readonly #config: ReductionConfig;
  readonly #memory = createVectorMemory(0);
  #round: OpenRound | undefined;
  /** What is wrong with contributions to the next round, whose grants come late. Each took its worker the wait for the grant. */
  #early: { readonly range: string; readonly key: ContributionKey; readonly defect: string }[] = [];

  constructor(config: ReductionConfig) {
    this.#config = config;
    this.grants = createGrants(config.streams);
  }

  get round(): number {
    return this.grants.round;
  }

  get additions(): readonly Addition[] {
    return this.#round?.additions ?? [];
  }

  get counted(): readonly ContributionKey[] {
    return [...this.additions, ...(this.#round?.retained.values() ?? [])];
  }

  openRound(order: RoundOrder, ranges: number): readonly Verdict[] {
    const before = this.#round;
    this.grants.openRound(order.round);
    this.#round = {
      ...order,
      ranges,
      waiting: new Map(),
      counted: new Set(),
      losses: [],
      lossTotal: 0,
      missing: 0,
      retained: new Map(),
      additions: [],
      audited: new Map(),
    };
    for (const { range, key, defect } of this.#early.splice(0)) this.hold(range, key, defect);
    const unfinished = [...(before?.waiting.values() ?? [])].flatMap(({ offered }) => offered ?? []);
    const reason = `the round was over before all of its gradient had come; round ${order.round} is open`;
    const unruled = [...(before?.audited.values() ?? [])];
    return [
      ...unfinished.map((offered) => verdictOf(offered, refuse('wrong_round', reason))),
      ...unruled.map((offered) => verdictOf(offered, refuse('not_audited', 'the round was over before it was audited'))),
    ];
  }

  grant(grant: Grant): void {
    this.grants.grant(grant);
  }

  offer(offered: OfferedContribution, missing: readonly string[] = []): readonly Ruling[] {
    const refusal = this.#checkRound(offered) ?? this.#check(this.#round!, offered) ?? checkRanges(missing);
    if (refusal) return [this.#refuse(offered, refusal)];
    const { workerId, message } = offered;
    const waiting = this.#waitingFor({ ...message, workerId });
    if (waiting.offered || this.#round!.audited.has(keyOf({ ...message, workerId })))
      return [verdictOf(offered, refuse('already_counted', 'it came before'))];
    waiting.offered = offered;
    return this.#decide(waiting);
  }

  #refuse(offered: OfferedContribution, refusal: Refusal): Verdict {
    const { workerId, message } = offered;
    // Not with the lease of another worker.
    const key = { ...message, workerId };
    if (!isLostRace(refusal.result) && this.grants.find(key)) {
      this.grants.spend(message);
      this.#round!.waiting.delete(keyOf(key));
    }
    return verdictOf(offered, refusal);
  }

  rule({ verdict, reason, round, leaseId, workerId }: AuditRule): readonly Ruling[] {
    const key: ContributionKey = { round, leaseId, workerId };
    const grant = this.grants.find(key);
    const isHeldForNorm = grant !== undefined && grant.audit !== 'hold';
    const counts = verdict === 'sound' || (verdict === 'unknown' && isHeldForNorm);
    const refusal = counts ? undefined : refuse(verdict === 'wrong' ? 'audit_failed' : 'not_audited', reason);
    return this.#release(key, refusal);
  }

  lose(key: ContributionKey, reason: string): readonly Ruling[] {
    return this.#release(key, refuse('not_audited', reason));
  }

  #release(key: ContributionKey, refusal: Refusal | undefined): readonly Ruling[] {
    const round = this.#round;
    const offered = key.round === this.round ? round?.audited.get(keyOf(key)) : undefined;
    if (!round || !offered) return [];
    round.audited.delete(keyOf(key));
    const lost = refusal ?? checkStreams(round, offered.message);
    return lost ? [this.#refuse(offered, lost)] : [...this.#count(round, key, offered)];
  }

  hold(range: string, key: ContributionKey, defect?: string, squares = 0): readonly Ruling[] {
    if (key.round === this.round + 1 && defect !== undefined) this.#early.push({ range, key, defect });
    if (key.round !== this.round || (!this.grants.find(key) && !this.grants.mayCome(key))) return [];
    const waiting = this.#waitingFor(key);
    waiting.held.set(range, squares);
    waiting.defect ??= defect;
    return this.#decide(waiting);
  }

  needs(key: ContributionKey): boolean {
    const name = keyOf(key);
    if (key.round !== this.round) return true;
    const { waiting, audited } = this.#round!;
    return waiting.get(name)?.offered !== undefined || audited.has(name) || this.counted.some((each) => keyOf(each) === name);
  }

  waitingFor(range: string): number {
    const waiting = [...(this.#round?.waiting.values() ?? [])];
    return new Set(waiting.flatMap(({ offered, held }) => (offered && !held.has(range) ? [offered.workerId] : []))).size;
  }

  get isComplete(): boolean {
    return this.additions.at(-1)?.last === true;
  }

  forget(range: string): void {
    for (const { held } of this.#round?.waiting.values() ?? []) held.delete(range);
  }

  #waitingFor(key: ContributionKey): Waiting {
    const { waiting } = this.#round!;
    const found = waiting.get(keyOf(key)) ?? { held: new Map() };
    waiting.set(keyOf(key), found);
    return found;
  }

  #decide({ offered, held, defect }: Waiting): readonly Ruling[] {
    const round = this.#round!;
    if (!offered || (defect === undefined && held.size < round.ranges)) return [];
    const { workerId, message } = offered;
    const key: ContributionKey = { round: message.round, leaseId: message.leaseId, workerId };
    round.waiting.delete(keyOf(key));
    const grant = this.grants.find(key);
    const norm = grant?.mostNorm === undefined ? undefined : normOf(held, message);
    const audit = grant ? auditModeOf(grant, norm) : 'none';
    const refusal = checkRace(round, message, audit) ?? checkDefect(defect) ?? checkLoss(round, message);
    if (refusal) return [this.#refuse(offered, refusal)];
    const whole = { ...offered, norm };
    const isUnexpected = audit !== (grant?.audit ?? 'none');
    const audited: Audited[] = audit === 'none' ? [] : [{ kind: 'audited', isUnexpected, ...whole }];
    if (audit !== 'hold') return [...audited, ...this.#count(round, key, whole)];
    round.audited.set(keyOf(key), whole);
    return audited;
  }

  *#count(round: OpenRound, key: ContributionKey, offered: OfferedContribution): Generator<Ruling> {
    const { streams, lossSum } = offered.message;
    const first = streams.reduce((least, stream) => Math.min(least, stream));
    for (const stream of streams) round.counted.add(stream);
    while (round.counted.has(round.missing)) round.missing++;
    round.losses.push({ stream: first, lossSum });
    round.lossTotal += lossSum;
    round.retained.set(first, key);
    const reason = `${round.counted.size} of ${this.#config.streams} streams are counted`;
    yield verdictOf(offered, { result: 'counted', reason });
    yield* this.#addDue(round);
  }

  /** Adds the gradients whose turn has come. */
  *#addDue(round: OpenRound): Generator<Addition> {
    const isDue = (first: number) => this.#config.ordered !== true || first < round.missing;
    const due = [...round.retained.keys()].filter(isDue).sort((a, b) => a - b);
    for (const first of due) {
      const key = round.retained.get(first)!;
      round.retained.delete(first);
      const last = round.counted.size === this.#config.streams && round.retained.size === 0;
      const addition: Addition = { kind: 'add', ...key, index: round.additions.length, last };
      round.additions.push(addition);
      yield addition;
    }
  }

  #checkRound({ message }: OfferedContribution): Refusal | undefined {
    const { runId } = this.#config;
    if (message.runId !== runId) {
      return refuse('wrong_run', `the contribution is for run ${message.runId}; this is run ${runId}`);
    }
    if (this.#round?.round === message.round) return undefined;
    const open = this.#round ? `round ${this.#round.round}` : 'no round';
    return refuse('wrong_round', `the contribution is for round ${message.round}; ${open} is open`);
  }

  #check(round: OpenRound, offered: OfferedContribution): Refusal | undefined {
    const { workerId, message, endStates } = offered;
    const { leaseId, streams, parametersDigest } = message;
    const grant = this.grants.find({ ...message, workerId });
    if (!grant)
      return refuse('unknown_lease', `worker ${workerId} has no lease ${leaseId} in round ${round.round}, or it was refused`);
    if (streams.length !== grant.streams.length || streams.some((stream, i) => stream !== grant.streams[i])) {
      const granted = brief(grant.streams);
      return refuse('unknown_lease', `lease ${leaseId} is for streams ${granted}, the contribution for ${brief(streams)}`);
    }
    const refusal = checkRace(round, message, grant.audit) ?? this.#checkTokens(message);
    if (refusal) return refusal;
    if (parametersDigest !== round.parametersDigest) {
      const digests = `computed with parameters ${parametersDigest}; round ${round.round} runs on ${round.parametersDigest}`;
      return refuse('replica_diverged', digests);
    }
    return this.#checkStates(floatsAt(endStates, 0, endStates.byteLength / 4)) ?? checkLoss(round, message);
  }

  /** A state beyond what the cell can reach would make the next gradients overflow, at honest workers too. */
  #checkStates(endStates: Float32Array): Refusal | undefined {
    const { largestState = 0 } = this.#config;
    const largest = this.#memory.maxMagnitude(endStates);
    if (!Number.isFinite(largest)) return refuse('not_finite', 'the end states hold a NaN or an infinity');
    if (largestState === 0 || largest <= largestState) return undefined;
    return refuse(
      'implausible',
      `an end state is ${largest.toPrecision(3)}, and no cell reaches more than ${largestState.toPrecision(3)}`,
    );
  }

  #checkTokens({ streams, tokens }: MessageOf<'contribution'>): Refusal | undefined {
    const { window } = this.#config;
    const due = streams.length * window;
    if (tokens === due) return undefined;
    return refuse('wrong_tokens', `${tokens} characters; ${streams.length} streams of ${window} make ${due}`);
  }

  finish(squares: readonly number[]): Finish {
    const { runId, streams, window } = this.#config;
    const round = this.#round!;
    const tokens = streams * window;
    const gradientNorm = Math.sqrt(squares.reduce((total, each) => total + each, 0)) / tokens;
    const scale = clipScale(gradientNorm, round.clip);
    const { round: number, learningRate } = round;
    return {
      head: { runId, round: number, learningRate, tokens, lossSum: sumLosses(round), gradientNorm, clipScale: scale },
      factor: scale / tokens,
    };
  }
}

/** L2 norm per character. */
function normOf(squares: Waiting['held'], { tokens }: MessageOf<'contribution'>): number {
  return Math.sqrt([...squares.values()].reduce((sum, each) => sum + each, 0)) / tokens;
}

function checkStreams({ counted }: OpenRound, { streams }: MessageOf<'contribution'>): Refusal | undefined {
  const done = streams.filter((stream) => counted.has(stream));
  return done.length > 0 ? refuse('already_counted', `streams ${brief(done)} are already counted`) : undefined;
}

/** What is held is audited even if others were faster: it shows whether its worker computes what it is asked to. */
function checkRace(round: OpenRound, message: MessageOf<'contribution'>, audit: AuditMode | undefined): Refusal | undefined {
  return audit === 'hold' ? undefined : checkStreams(round, message);
}

function checkDefect(defect: string | undefined): Refusal | undefined {
  return defect === undefined ? undefined : refuse('not_finite', defect);
}

function checkLoss({ lossTotal }: OpenRound, { lossSum }: MessageOf<'contribution'>): Refusal | undefined {
  return Number.isFinite(lossTotal + lossSum) ? undefined : refuse('not_finite', `a loss of ${lossSum} nats`);
}

function checkRanges(missing: readonly string[]): Refusal | undefined {
  if (missing.length === 0) return undefined;
  return refuse('incomplete', `ranges ${brief(missing)} of its gradient did not come before it`);
}

function verdictOf(offered: OfferedContribution, said: Pick<Verdict, 'result' | 'reason'>): Verdict {
  return { ...offered, kind: 'verdict', ...said };
}

function refuse(result: ContributionRefusal, reason: string): Refusal {
  return { result, reason };
}

/** Added in stream order, so the sum does not depend on the order of arrival. */
function sumLosses(round: OpenRound): number {
  return round.losses.toSorted((a, b) => a.stream - b.stream).reduce((total, { lossSum }) => total + lossSum, 0);
}

function brief(items: readonly (number | string)[]): string {
  return items.length <= 8 ? items.join(', ') : `${items.slice(0, 8).join(', ')} and ${items.length - 8} more`;
}
