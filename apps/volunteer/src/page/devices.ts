/** What the device reports to the page: its kind, battery, visibility, network, screen lock. */
import type { Device } from '../decisions/device.js';

interface Battery extends EventTarget {
  readonly charging: boolean;
}

/** Calls `onChange` with the state of the battery, now and when it changes. @returns whether this browser reports it */
export async function watchBattery(onChange: (battery: { readonly charging: boolean }) => void): Promise<boolean> {
  const { getBattery } = navigator as { readonly getBattery?: () => Promise<Battery> };
  if (!getBattery) return false;
  try {
    const battery = await getBattery.call(navigator);
    const notify = (): void => onChange({ charging: battery.charging });
    battery.addEventListener('chargingchange', notify);
    notify();
    return true;
  } catch {
    // A policy forbids it.
    return false;
  }
}

export function watchVisibility(onChange: (hidden: boolean) => void): void {
  const notify = (): void => onChange(document.hidden);
  document.addEventListener('visibilitychange', notify);
  notify();
}

/** As navigator.connection gives it, where there is one. */
interface Link extends EventTarget {
  readonly type?: string;
  readonly saveData?: boolean;
}

const linkOf = (): Link | undefined => (navigator as { readonly connection?: Link }).connection;

export function readDevice(): Device {
  const { userAgentData } = navigator as { readonly userAgentData?: { readonly mobile: boolean } };
  const link = linkOf();
  return {
    mobile: userAgentData?.mobile,
    coarsePointer: matchMedia('(pointer: coarse)').matches,
    saveData: link?.saveData === true,
    link: link?.type,
  };
}

/** Calls `onChange` with each change of what readDevice() says. */
export function watchDevice(onChange: (device: Device) => void): void {
  let known = JSON.stringify(readDevice());
  linkOf()?.addEventListener('change', () => {
    const device = readDevice();
    // The event also comes with every new estimate of the link's speed.
    if (JSON.stringify(device) === known) return;
    known = JSON.stringify(device);
    onChange(device);
  });
}

const CHECK_MS = 5_000;
/** Timers of hidden pages fire once a minute; a longer gap means that the device slept. */
const ASLEEP_MS = 90_000;

/** Links that a sleep or a change of network has cut look open for minutes. `onBreak` is called when new links are needed. */
export function watchNetwork(nowMs: () => number, onBreak: (reason: string) => void): void {
  addEventListener('online', () => onBreak('the network is back'));
  const connection = linkOf();
  let type = connection?.type;
  connection?.addEventListener('change', () => {
    // The event also comes with every new estimate of its speed.
    if (connection.type === type) return;
    type = connection.type;
    onBreak('the network changed');
  });
  let seenMs = nowMs();
  const check = (): void => {
    const gapMs = nowMs() - seenMs;
    seenMs += gapMs;
    if (gapMs > ASLEEP_MS) onBreak('the device slept');
  };
  setInterval(check, CHECK_MS);
  document.addEventListener('visibilitychange', check);
  document.addEventListener('resume', check);
}

export interface WakeLock {
  readonly isOffered: boolean;
  setWanted(wanted: boolean): void;
}

/** Browsers release the lock when the page is hidden; it is requested again when the page is visible. */
export function createWakeLock(): WakeLock {
  const { wakeLock } = navigator as { readonly wakeLock?: Navigator['wakeLock'] };
  let wanted = false;
  let held: Promise<WakeLockSentinel | undefined> | undefined;
  const apply = (): void => {
    if (wanted && !document.hidden && !held && wakeLock) {
      const lock = wakeLock.request('screen').catch(() => undefined);
      held = lock;
      void lock.then((sentinel) => {
        if (!sentinel) held = undefined;
        sentinel?.addEventListener('release', () => {
          if (held === lock) held = undefined;
        });
      });
    }
    if (!wanted && held) {
      void held.then((sentinel) => sentinel?.release());
      held = undefined;
    }
  };
  document.addEventListener('visibilitychange', apply);
  return {
    isOffered: wakeLock !== undefined,
    setWanted(next) {
      wanted = next;
      apply();
    },
  };
}
