/** Why the page does not compute although the volunteer has started it. The page shows the first reason that applies. */
export type PauseReason = 'person' | 'cap' | 'battery' | 'hidden';

export interface Circumstances {
  /** The volunteer pressed Pause. */
  readonly pausedByPerson: boolean;
  readonly hidden: boolean;
  readonly pauseWhenHidden: boolean;
  /** Undefined where the browser does not report it. */
  readonly battery: { readonly charging: boolean } | undefined;
  readonly pauseOnBattery: boolean;
  /** Sent and received since the volunteer started, or went on after the limit, bytes. */
  readonly trafficBytes: number;
  /** 0: no limit. */
  readonly capBytes: number;
}

export function pauseReason(now: Circumstances): PauseReason | undefined {
  if (now.pausedByPerson) return 'person';
  if (now.capBytes > 0 && now.trafficBytes >= now.capBytes) return 'cap';
  if (now.pauseOnBattery && now.battery && !now.battery.charging) return 'battery';
  if (now.pauseWhenHidden && now.hidden) return 'hidden';
  return undefined;
}
