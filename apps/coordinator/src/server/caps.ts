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

/**
 * Whose account a link counts for: its IPv4 address, or the first 64 bits of its IPv6 address, of which one machine has all the rest
 * (RFC 4291, section 2.5.4). All machines of one network have the first 64 bits of a link-local address (fe80::/10) in common, so it counts
 * as a whole.
 * @param address without a port or brackets
 * @param reported a proxy has reported it: then it is not of this machine, whatever it says
 * @returns undefined for this machine, whose users need no protection from themselves
 */
export function addressKey(address: string, reported: boolean): string | undefined {
  if (!address.includes(':')) return address.startsWith('127.') && !reported ? undefined : address;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return addressKey(mapped, reported);
  if (address === '::1' && !reported) return undefined;
  const groups = groupsOf(address);
  return LINK_LOCAL.test(groups[0]) ? groups.join(':') : `${groups.slice(0, 4).join(':')}::/64`;
}

/** The first group of fe80::/10. */
const LINK_LOCAL = /^fe[89ab]/;

/** The eight groups of an IPv6 address, without leading zeros. */
function groupsOf(address: string): string[] {
  const [head, tail] = address.toLowerCase().replace(/%.*/, '').split('::');
  const [left, right] = [head, tail ?? ''].map((part) => part.split(':').filter(Boolean));
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - left.length - right.length);
  const groups = [...left, ...Array<string>(zeros).fill('0'), ...right];
  return groups.map((group) => group.replace(/^0+(?=.)/, ''));
}
