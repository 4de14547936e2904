/** Formats numbers as a language writes them. */
export interface Numbers {
  whole(value: number): string;
  /** 12.3K, 4.5M. */
  short(value: number): string;
  bytes(value: number): string;
  loss(value: number): string;
  /** 0.031 -> "3.1%". */
  percent(fraction: number): string;
}

export function createNumbers(language: string): Numbers {
  const whole = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
  const short = new Intl.NumberFormat(language, { notation: 'compact', maximumSignificantDigits: 3 });
  const few = new Intl.NumberFormat(language, { maximumSignificantDigits: 3 });
  const loss = new Intl.NumberFormat(language, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const percent = new Intl.NumberFormat(language, { style: 'percent', maximumSignificantDigits: 2 });
  return {
    percent: (fraction) => percent.format(fraction),
    whole: (value) => whole.format(value),
    short: (value) => short.format(value),
    bytes(value) {
      // What is rounded up to a thousand of one unit is written as one of the next.
      if (value < 999.5) return `${whole.format(value)}\u00a0B`;
      if (value < 999.5e3) return `${few.format(value / 1e3)}\u00a0kB`;
      return value < 999.5e6 ? `${few.format(value / 1e6)}\u00a0MB` : `${few.format(value / 1e9)}\u00a0GB`;
    },
    loss: (value) => loss.format(value),
  };
}
