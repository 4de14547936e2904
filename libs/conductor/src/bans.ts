/** Who is banned from a run, and the addresses whose workers count only after an audit. */
import { brief, LIMITS } from '@troupe/protocol';
import type { Ban } from '@troupe/run';
import { hostOf } from '@troupe/transport';
import type { WorkerIdentity } from './events.js';

type Worker = Pick<WorkerIdentity, 'name' | 'remote'>;
type Offence = Pick<Ban, 'by' | 'refused' | 'held' | 'reason'>;

export interface BanList {
  /** In the order in which they came. */
  list(): readonly Ban[];
  /** Whether its name at its address is refused. */
  isRefused(worker: Worker): boolean;
  /** Whether nothing that comes from its address counts before it is audited. */
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
  /** By address, and then by name. */
  const addresses = new Map<string, Map<string, Ban>>();
  let added = 0;
  const all = (): Ban[] => [...addresses.values()].flatMap((alike) => [...alike.values()]);
  const put = (ban: Ban): void => {
    const alike = addresses.get(ban.address) ?? new Map<string, Ban>();
    addresses.set(ban.address, alike.set(ban.name, ban));
    added = Math.max(added, numberOf(ban));
  };
  const remove = ({ address, name }: Ban): void => {
    const alike = addresses.get(address);
    alike?.delete(name);
    if (alike?.size === 0) addresses.delete(address);
  };
  for (const ban of bans) put(ban);

  return {
    list: () => all().sort((a, b) => numberOf(a) - numberOf(b)),
    isRefused: ({ remote, name }) => addresses.get(hostOf(remote))?.get(name)?.refused ?? false,
    isHeld: ({ remote }) => [...(addresses.get(hostOf(remote))?.values() ?? [])].some(({ held }) => held),
    add({ remote, name, tokenId }, offence) {
      const address = hostOf(remote);
      const before = addresses.get(address)?.get(name);
      const ban: Ban = {
        ...{ id: `b${added + 1}`, at: now(), address, name, ...(tokenId !== undefined && { tokenId }) },
        ...{ by: before?.by === 'admin' ? 'admin' : offence.by, reason: brief(offence.reason) },
        ...{ refused: offence.refused || (before?.refused ?? false), held: offence.held || (before?.held ?? false) },
      };
      if (before) remove(before);
      else if (all().length >= most) remove(leastMissed(addresses));
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

/** The oldest of the address that has most, if there is one that no person has ordered. */
function leastMissed(addresses: ReadonlyMap<string, ReadonlyMap<string, Ban>>): Ban {
  const all = [...addresses.values()].map((alike) => [...alike.values()]);
  const automatic = all.map((alike) => alike.filter(({ by }) => by === 'audit'));
  const candidates = automatic.some((alike) => alike.length > 0) ? automatic : all;
  const largest = candidates.reduce((most, alike) => (alike.length > most.length ? alike : most));
  return largest.reduce((oldest, ban) => (numberOf(ban) < numberOf(oldest) ? ban : oldest));
}

function numberOf({ id }: Ban): number {
  return Number(id.slice(1));
}
