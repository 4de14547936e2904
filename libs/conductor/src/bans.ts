/** Who is banned from a run, and the addresses whose workers count only after an audit. */
import { brief, LIMITS, machineKey } from '@troupe/protocol';
import type { Ban } from '@troupe/run';
import { hostOf } from '@troupe/transport';
import type { WorkerIdentity } from './events.js';

type Worker = Pick<WorkerIdentity, 'name' | 'remote'>;
type Offence = Pick<Ban, 'by' | 'refused' | 'held' | 'reason'>;

export interface BanList {
  /** In the order in which they came. */
  list(): readonly Ban[];
  /** Whether its name is refused at its address, or at another one of the same machine. */
  isRefused(worker: Worker): boolean;
  /** Whether nothing that comes from its machine counts before it is audited. */
  isHeld(worker: Pick<Worker, 'remote'>): boolean;
  /** Takes the place of a ban of the same name at the same address, and keeps what that one did. */
  add(worker: Worker & Pick<WorkerIdentity, 'tokenId'>, offence: Offence): Ban;
  /** @returns undefined if there is no such ban */
  lift(id: string): Ban | undefined;
}

export interface BanListOptions {
  /** Unix time, ms. */
  now(): number;
  /** Those of before. */
  readonly bans?: readonly Ban[] | undefined;
  /** The list has changed. */
  onChange?(): void;
  /**
   * With one more, an address that has most bans loses its oldest: made-up names push out earlier ones of the same address. Bans by a person
   * go last.
   */
  readonly most?: number;
}

export function createBanList({ now, bans = [], onChange, most = LIMITS.bans }: BanListOptions): BanList {
  /** By machine, of which one may have many addresses, and then by name. */
  const machines = new Map<string, Map<string, Ban>>();
  let added = 0;
  const all = (): Ban[] => [...machines.values()].flatMap((alike) => [...alike.values()]);
  const at = (remote: string): ReadonlyMap<string, Ban> | undefined => machines.get(machineKey(remote));
  const put = (ban: Ban): void => {
    const key = machineKey(ban.address);
    const alike = machines.get(key) ?? new Map<string, Ban>();
    machines.set(key, alike.set(ban.name, withBefore(ban, alike.get(ban.name))));
    added = Math.max(added, numberOf(ban));
  };
  const remove = ({ address, name }: Ban): void => {
    const key = machineKey(address);
    const alike = machines.get(key);
    alike?.delete(name);
    if (alike?.size === 0) machines.delete(key);
  };
  // Two of a file may be of one machine.
  for (const ban of bans) put(ban);

  return {
    list: () => all().sort((a, b) => numberOf(a) - numberOf(b)),
    isRefused: ({ remote, name }) => at(remote)?.get(name)?.refused ?? false,
    isHeld: ({ remote }) => [...(at(remote)?.values() ?? [])].some(({ held }) => held),
    add({ remote, name, tokenId }, offence) {
      const address = hostOf(remote);
      const before = at(remote)?.get(name);
      const given = { id: `b${added + 1}`, at: now(), address, name, ...(tokenId !== undefined && { tokenId }) };
      const ban = withBefore({ ...given, ...offence, reason: brief(offence.reason) }, before);
      if (before) remove(before);
      else if (all().length >= most) remove(leastMissed(machines));
      put(ban);
      onChange?.();
      return ban;
    },
    lift(id) {
      const ban = all().find((one) => one.id === id);
      if (!ban) return undefined;
      remove(ban);
      onChange?.();
      return ban;
    },
  };
}

/** The ban, which also does what one of before did to the same worker. */
function withBefore(ban: Ban, before: Ban | undefined): Ban {
  if (!before) return ban;
  const by = before.by === 'admin' ? 'admin' : ban.by;
  return { ...ban, by, refused: ban.refused || before.refused, held: ban.held || before.held };
}

/** The oldest of the machine that has most, if there is one that no person has ordered. */
function leastMissed(machines: ReadonlyMap<string, ReadonlyMap<string, Ban>>): Ban {
  const all = [...machines.values()].map((alike) => [...alike.values()]);
  const automatic = all.map((alike) => alike.filter(({ by }) => by === 'audit'));
  const candidates = automatic.some((alike) => alike.length > 0) ? automatic : all;
  const largest = candidates.reduce((most, alike) => (alike.length > most.length ? alike : most));
  return largest.reduce((oldest, ban) => (numberOf(ban) < numberOf(oldest) ? ban : oldest));
}

function numberOf({ id }: Ban): number {
  return Number(id.slice(1));
}
