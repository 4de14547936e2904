/** Formats numbers, durations and moments in the page's language. */
import type { Language } from '../texts.js';

export interface Format {
  /** 12,345 */
  whole(n: number): string;
  /** "12.3K" */
  compact(n: number): string;
  /** Nats/char: three decimals. */
  loss(nats: number): string;
  /** Three significant digits; very small and very large ones with an exponent. */
  figure(n: number): string;
  /** Of a fraction of 1: "12%", "0.3%", "<0.01%". */
  percent(fraction: number): string;
  /** "850ms", "3.2s", "4m 10s", "1h 12m", "2d 3h". */
  duration(ms: number): string;
  /** Hours, minutes and seconds of a moment in ms since 1970. */
  clock(moment: number): string;
  date(moment: number): string;
}

/** Stands for an unknown number. */
export const NOTHING = '–';

const LOCALES: Readonly<Record<Language, string>> = { en: 'en-GB', zh: 'zh-CN' };

/** A smaller fraction is shown as "<0.01%". */
const MIN_FRACTION = 1e-4;

export function createFormat(language: Language): Format {
  const locale = LOCALES[language];
  const number = (options: Intl.NumberFormatOptions): ((n: number) => string) => {
    const format = new Intl.NumberFormat(locale, options);
    return (n) => (Number.isFinite(n) ? format.format(n) : NOTHING);
  };
  const significant = number({ maximumSignificantDigits: 3 });
  const whole = number({ style: 'percent', maximumFractionDigits: 0 });
  const few = number({ style: 'percent', maximumSignificantDigits: 1 });
  const clock = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });
  const date = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'short' });
  return {
    whole: number({ maximumFractionDigits: 0 }),
    compact: number({ notation: 'compact', maximumSignificantDigits: 3 }),
    loss: number({ minimumFractionDigits: 3, maximumFractionDigits: 3 }),
    figure: (n) => (n !== 0 && (Math.abs(n) < 1e-3 || Math.abs(n) >= 1e5) ? powerOfTen(n) : significant(n)),
    percent: (fraction) => {
      if (fraction > 0 && fraction < MIN_FRACTION) return `<${few(MIN_FRACTION)}`;
      return (Math.abs(fraction) < 0.01 ? few : whole)(fraction);
    },
    duration: durations(locale),
    clock: (moment) => clock.format(moment),
    date: (moment) => date.format(moment),
  };
}

const SUPERSCRIPTS = '⁰¹²³⁴⁵⁶⁷⁸⁹';

/** "5.5×10⁻⁶". */
function powerOfTen(n: number): string {
  if (!Number.isFinite(n)) return NOTHING;
  const [mantissa, exponent] = n.toExponential(1).split('e');
  const raised = [...exponent.replace('+', '')].map((digit) => (digit === '-' ? '⁻' : SUPERSCRIPTS[Number(digit)])).join('');
  const factor = mantissa.replace('.0', '');
  return factor === '1' ? `10${raised}` : `${factor}×10${raised}`;
}

type Unit = 'millisecond' | 'second' | 'minute' | 'hour' | 'day';

function durations(locale: string): (ms: number) => string {
  const formats = new Map<string, Intl.NumberFormat>();
  const unit = (n: number, name: Unit, digits = 0): string => {
    const key = `${name} ${digits}`;
    let format = formats.get(key);
    if (!format) {
      format = new Intl.NumberFormat(locale, { style: 'unit', unit: name, unitDisplay: 'narrow', maximumFractionDigits: digits });
      formats.set(key, format);
    }
    return format.format(n);
  };
  const pair = (total: number, large: Unit, small: Unit, ratio: number): string => {
    const [whole, rest] = [Math.floor(total / ratio), total % ratio];
    return rest === 0 ? unit(whole, large) : `${unit(whole, large)} ${unit(rest, small)}`;
  };
  return (ms) => {
    if (!Number.isFinite(ms) || ms < 0) return NOTHING;
    if (ms < 10) return unit(ms, 'millisecond', 1);
    if (ms < 999.5) return unit(ms, 'millisecond');
    if (ms < 9_950) return unit(ms / 1000, 'second', 1);
    if (ms < 59_500) return unit(ms / 1000, 'second');
    if (ms < 3_599_500) return pair(Math.round(ms / 1000), 'minute', 'second', 60);
    if (ms < 86_370_000) return pair(Math.round(ms / 60_000), 'hour', 'minute', 60);
    return pair(Math.round(ms / 3_600_000), 'day', 'hour', 24);
  };
}
