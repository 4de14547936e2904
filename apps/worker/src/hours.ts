/** The hours of the day in which a worker computes. */

const DAY_MINUTES = 24 * 60;

/** Minutes after midnight, local time. `to` is not included; `to` before `from` means that midnight is. */
export interface Hours {
  readonly from: number;
  readonly to: number;
}

/** "22:00-06:30", whose form is checked. Undefined if both are the same time. */
export function parseHours(text: string): Hours | undefined {
  const [from, to] = text.split('-').map((time) => {
    const [hours, minutes] = time.split(':').map(Number);
    return hours * 60 + minutes;
  });
  return from === to ? undefined : { from, to };
}

export function isWithin({ from, to }: Hours, now: Date): boolean {
  const minutes = now.getHours() * 60 + now.getMinutes();
  return (minutes - from + DAY_MINUTES) % DAY_MINUTES < (to - from + DAY_MINUTES) % DAY_MINUTES;
}

/** When the hours begin next after `now`. */
export function nextBeginning({ from }: Hours, now: Date): Date {
  const beginning = new Date(now);
  beginning.setHours(Math.floor(from / 60), from % 60, 0, 0);
  if (beginning <= now) beginning.setDate(beginning.getDate() + 1);
  return beginning;
}

/** "06:30". */
export function clockTime(date: Date): string {
  return [date.getHours(), date.getMinutes()].map((part) => String(part).padStart(2, '0')).join(':');
}
