/** What the device tells the page about itself, where it does. */

interface Battery extends EventTarget {
  readonly charging: boolean;
}

/** Calls `onChange` with what the battery does, now and later. @returns whether this browser tells at all */
export async function watchBattery(onChange: (battery: { readonly charging: boolean }) => void): Promise<boolean> {
  const { getBattery } = navigator as { readonly getBattery?: () => Promise<Battery> };
  if (!getBattery) return false;
  try {
    const battery = await getBattery.call(navigator);
    const tell = (): void => onChange({ charging: battery.charging });
    battery.addEventListener('chargingchange', tell);
    tell();
    return true;
  } catch {
    // Forbidden by a policy: the same as not there.
    return false;
  }
}

export function watchVisibility(onChange: (hidden: boolean) => void): void {
  const tell = (): void => onChange(document.hidden);
  document.addEventListener('visibilitychange', tell);
  tell();
}

const LOOK_MS = 5_000;
/** Hidden pages get to look at the clock once a minute; the coordinator gives a silent link up sooner than that. */
const ASLEEP_MS = 90_000;

/** Links that a sleep or another network has cut look open for minutes: `onBreak` says when it is wiser to open new ones. */
export function watchNetwork(nowMs: () => number, onBreak: (reason: string) => void): void {
  addEventListener('online', () => onBreak('the network is back'));
  const { connection } = navigator as { readonly connection?: EventTarget & { readonly type?: string } };
  let type = connection?.type;
  connection?.addEventListener('change', () => {
    // It also changes with every new estimate of its speed.
    if (connection.type === type) return;
    type = connection.type;
    onBreak('the network changed');
  });
  let seenMs = nowMs();
  const look = (): void => {
    const gapMs = nowMs() - seenMs;
    seenMs += gapMs;
    if (gapMs > ASLEEP_MS) onBreak('the device slept');
  };
  setInterval(look, LOOK_MS);
  document.addEventListener('visibilitychange', look);
  document.addEventListener('resume', look);
}

export interface WakeLock {
  readonly isOffered: boolean;
  want(wanted: boolean): void;
}

/** Browsers take the lock back when the page is hidden: it is asked for anew when the page is seen again. */
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
    want(next) {
      wanted = next;
      apply();
    },
  };
}
