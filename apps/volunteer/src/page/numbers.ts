/** Formats numbers as a language writes them. */
export interface Numbers {
  whole(value: number): string;
  /** 12.3K, 4.5M. */
  short(value: number): string;
  bytes(value: number): string;
  /** The same for an estimate, with two digits. */
  about(value: number): string;
  loss(value: number): string;
  /** 0.031 -> "3.1%". */
  percent(fraction: number): string;
}

export function createNumbers(language: string): Numbers {
  const whole = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
  const short = new Intl.NumberFormat(language, { notation: 'compact', maximumSignificantDigits: 3 });
  const few = new Intl.NumberFormat(language, { maximumSignificantDigits: 3 });
  const rough = new Intl.NumberFormat(language, { maximumSignificantDigits: 2 });
  const loss = new Intl.NumberFormat(language, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const percent = new Intl.NumberFormat(language, { style: 'percent', maximumSignificantDigits: 2 });
  return {
    percent: (fraction) => percent.format(fraction),
    whole: (value) => whole.format(value),
    short: (value) => short.format(value),
    bytes: (value) => bytesText(value, few, 999.5),
    about: (value) => bytesText(value, rough, 995),
    loss: (value) => loss.format(value),
  };
}

/** @param most what is rounded up to a thousand of one unit is written as one of the next */
function bytesText(value: number, format: Intl.NumberFormat, most: number): string {
  const unit = ['B', 'kB', 'MB'].findIndex((_, i) => value < most * 1e3 ** i);
  const power = unit < 0 ? 3 : unit;
  const digits = power === 0 ? Math.round(value) : value / 1e3 ** power;
  return `${format.format(digits)}\u00a0${['B', 'kB', 'MB', 'GB'][power]}`;
}
