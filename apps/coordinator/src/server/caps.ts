/**
 * Counts what one address, or one token, has open and sends, and says when that is too much. Windows are fixed: a count begins again when
 * its minute is over, so counting costs a few additions, whatever has been counted before.
 */
import { LIMITS } from '@troupe/protocol';

/** The most of each kind: `links` at a time, the others in a window. */
export interface CapTable {
  readonly links: number;
  readonly openings: number;
  readonly frames: number;
  readonly bytes: number;
  readonly leases: number;
}

/** More of a kind than the cap allows. */
export interface Excess {
  readonly kind: keyof CapTable;
  readonly cap: number;
}

/** The counts of one address or token. */
export interface Account {
  /** A link opens; if it may not, it is not counted. @param maxLinks overrides the cap */
  open(nowMs: number, maxLinks?: number): Excess | undefined;
  /** A link that was counted has closed. */
  close(): void;
  frame(bytes: number, nowMs: number): Excess | undefined;
  lease(nowMs: number): Excess | undefined;
}

export interface Caps {
  /** The account with this key. Ask again for each link: an account without links may be forgotten. */
  account(key: string): Account;
}

/** The caps of LIMITS. @param scale multiplies them; 0: there are none */
export function capTable(scale: number): CapTable {
  const of = (cap: number): number => (scale === 0 ? Infinity : Math.max(1, Math.floor(cap * scale)));
  return {
    links: of(LIMITS.cappedLinks),
    openings: of(LIMITS.cappedOpenings),
    frames: of(LIMITS.cappedFrames),
    bytes: of(LIMITS.cappedBytes),
    leases: of(LIMITS.cappedLeases),
  };
}

export function createCaps(table: CapTable, idle: number = LIMITS.cappedIdle): Caps {
  const accounts = new Map<string, Counts>();
  return {
    account(key) {
      const known = accounts.get(key);
      if (known) return known;
      // The server bounds connections, so nearly all of these accounts have no link, and one pass makes room.
      if (accounts.size >= idle) for (const [other, { links }] of accounts) if (links === 0) accounts.delete(other);
      const counts = new Counts(table);
      accounts.set(key, counts);
      return counts;
    },
  };
}

class Counts implements Account {
  links = 0;
  readonly #table: CapTable;
  #sinceMs = -Infinity;
  #openings = 0;
  #frames = 0;
  #bytes = 0;
  #leases = 0;

  constructor(table: CapTable) {
    this.#table = table;
  }

  open(nowMs: number, maxLinks = this.#table.links): Excess | undefined {
    this.#startWindow(nowMs);
    if (this.links >= maxLinks) return { kind: 'links', cap: maxLinks };
    if (++this.#openings > this.#table.openings) return { kind: 'openings', cap: this.#table.openings };
    this.links++;
    return undefined;
  }

  close(): void {
    this.links--;
  }

  frame(bytes: number, nowMs: number): Excess | undefined {
    this.#startWindow(nowMs);
    if (++this.#frames > this.#table.frames) return { kind: 'frames', cap: this.#table.frames };
    if ((this.#bytes += bytes) > this.#table.bytes) return { kind: 'bytes', cap: this.#table.bytes };
    return undefined;
  }

  lease(nowMs: number): Excess | undefined {
    this.#startWindow(nowMs);
    return ++this.#leases > this.#table.leases ? { kind: 'leases', cap: this.#table.leases } : undefined;
  }

  #startWindow(nowMs: number): void {
    if (nowMs - this.#sinceMs < LIMITS.capWindowMs) return;
    this.#sinceMs = nowMs;
    this.#openings = this.#frames = this.#bytes = this.#leases = 0;
  }
}
