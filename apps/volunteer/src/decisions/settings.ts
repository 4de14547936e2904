/** On what terms the volunteer takes part; kept on the device. */
export interface Terms {
  readonly name: string;
  /** Per cent of the machine. */
  readonly share: number;
  /** Of a session's traffic, MB (10^6 bytes); 0: none. */
  readonly capMb: number;
  readonly pauseOnBattery: boolean;
  readonly pauseWhenHidden: boolean;
  readonly keepAwake: boolean;
}

export const DEFAULT_TERMS: Terms = {
  name: '',
  share: 70,
  capMb: 0,
  pauseOnBattery: true,
  pauseWhenHidden: false,
  keepAwake: false,
};

/** Offered as caps, MB. */
export const CAPS_MB = [100, 250, 500, 1_000, 5_000, 20_000] as const;
export const NAME_LENGTH = 40;

/** From what was stored, which may be absent, old or tampered with. */
export function parseTerms(stored: string | null): Terms {
  if (stored === null) return DEFAULT_TERMS;
  try {
    return readTerms(JSON.parse(stored));
  } catch {
    return DEFAULT_TERMS;
  }
}

function readTerms(value: unknown): Terms {
  if (typeof value !== 'object' || value === null) return DEFAULT_TERMS;
  const given = value as Readonly<Record<string, unknown>>;
  const flag = (key: 'pauseOnBattery' | 'pauseWhenHidden' | 'keepAwake'): boolean =>
    typeof given[key] === 'boolean' ? given[key] : DEFAULT_TERMS[key];
  const { name, share, capMb } = given;
  return {
    name: typeof name === 'string' ? name.slice(0, NAME_LENGTH) : '',
    share: typeof share === 'number' && share >= 10 && share <= 100 ? Math.round(share) : DEFAULT_TERMS.share,
    capMb: CAPS_MB.find((cap) => cap === capMb) ?? 0,
    pauseOnBattery: flag('pauseOnBattery'),
    pauseWhenHidden: flag('pauseWhenHidden'),
    keepAwake: flag('keepAwake'),
  };
}
