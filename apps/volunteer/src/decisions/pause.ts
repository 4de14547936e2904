/** Why the page does not compute although its person has started it; the first that holds is the one shown. */
export type PauseReason = 'person' | 'cap' | 'battery' | 'hidden';

export interface Circumstances {
  /** The person pressed pause. */
  readonly pausedByPerson: boolean;
  /** Nobody sees the tab. */
  readonly hidden: boolean;
  readonly pauseWhenHidden: boolean;
  /** Undefined where the browser does not tell. */
  readonly battery: { readonly charging: boolean } | undefined;
  readonly pauseOnBattery: boolean;
  /** Sent and received in this session, bytes. */
  readonly trafficBytes: number;
  /** 0: no cap. */
  readonly capBytes: number;
}

export function pauseReason(now: Circumstances): PauseReason | undefined {
  if (now.pausedByPerson) return 'person';
  if (now.capBytes > 0 && now.trafficBytes >= now.capBytes) return 'cap';
  if (now.pauseOnBattery && now.battery && !now.battery.charging) return 'battery';
  if (now.pauseWhenHidden && now.hidden) return 'hidden';
  return undefined;
}
