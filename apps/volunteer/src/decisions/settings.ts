/** How the volunteer takes part; stored on the device. */
export interface Settings {
  readonly name: string;
  readonly team: string;
  /** Name and team are shown to others, and credited with what this device computes. */
  readonly showName: boolean;
  /** Per cent of the machine, 10 to 100. */
  readonly share: number;
  /** Limit of a session's traffic, MB (10^6 bytes); 0: no limit; undefined: what is usual for the device, see usualCapMb. */
  readonly limitMb: number | undefined;
  /** Limit of the rate in each direction, Mbit/s; 0: no limit. */
  readonly rateMbit: number;
  readonly pauseOnBattery: boolean;
  readonly pauseWhenHidden: boolean;
  readonly keepAwake: boolean;
  /** Exchange gradients with other machines directly: they learn the address of this one. */
  readonly directLinks: boolean;
}

export const DEFAULT_SETTINGS: Settings = {
  name: '',
  team: '',
  showName: false,
  share: 70,
  limitMb: undefined,
  rateMbit: 0,
  pauseOnBattery: true,
  pauseWhenHidden: false,
  keepAwake: false,
  directLinks: false,
};

/** Limits to choose from, MB. */
export const LIMITS_MB = [100, 250, 500, 1_000, 2_000, 5_000, 20_000] as const;
/** Rates to choose from, Mbit/s. */
export const RATES_MBIT = [1, 2, 5, 10, 20, 50] as const;
export const NAME_LENGTH = 40;

/** @param stored may be absent, of an older version, or tampered with */
export function parseSettings(stored: string | null): Settings {
  if (stored === null) return DEFAULT_SETTINGS;
  try {
    return readSettings(JSON.parse(stored));
  } catch {
    return DEFAULT_SETTINGS;
  }
}

type Flag = 'showName' | 'pauseOnBattery' | 'pauseWhenHidden' | 'keepAwake' | 'directLinks';

function readSettings(value: unknown): Settings {
  if (typeof value !== 'object' || value === null) return DEFAULT_SETTINGS;
  const given = value as Readonly<Record<string, unknown>>;
  const flag = (key: Flag): boolean => (typeof given[key] === 'boolean' ? given[key] : DEFAULT_SETTINGS[key]);
  const { share, rateMbit } = given;
  const text = (key: 'name' | 'team'): string => (typeof given[key] === 'string' ? given[key].slice(0, NAME_LENGTH) : '');
  return {
    name: text('name'),
    team: text('team'),
    showName: flag('showName'),
    share: typeof share === 'number' && share >= 10 && share <= 100 ? Math.round(share) : DEFAULT_SETTINGS.share,
    limitMb: limitOf(given),
    rateMbit: RATES_MBIT.find((rate) => rate === rateMbit) ?? 0,
    pauseOnBattery: flag('pauseOnBattery'),
    pauseWhenHidden: flag('pauseWhenHidden'),
    keepAwake: flag('keepAwake'),
    directLinks: flag('directLinks'),
  };
}

/** Older pages stored `capMb`, with 0 for those who had chosen nothing. */
function limitOf({ limitMb, capMb }: Readonly<Record<string, unknown>>): number | undefined {
  if (limitMb === 0) return 0;
  return LIMITS_MB.find((limit) => limit === limitMb) ?? LIMITS_MB.find((limit) => limit === capMb);
}
