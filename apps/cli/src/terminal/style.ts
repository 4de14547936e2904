import { styleText } from 'node:util';
import type { Output, Shell } from '../shell.js';

export type Format = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';

/** Formats a text, or leaves it unchanged if colours are unwanted. */
export type Style = (format: Format, text: string) => string;

export const plainStyle: Style = (_format, text) => text;

/**
 * Uses colours on a terminal, unless NO_COLOR is set (https://no-color.org) or the terminal has
 * none.
 */
export function styleFor(output: Output, env: Shell['env']): Style {
  if (output.isTTY !== true || (env.NO_COLOR ?? '') !== '' || env.TERM === 'dumb') return plainStyle;
  // The check above is for this output. By default, styleText of newer Node versions would check
  // process.stdout.
  return (format, text) => styleText(format, text, { validateStream: false });
}

/** Whether a line can be redrawn in place: on a terminal that knows control sequences. */
export function canRedraw(output: Output, env: Shell['env']): boolean {
  return output.isTTY === true && env.TERM !== 'dumb';
}

/** 61234 -> "61.2k". */
export function compactCount(value: number): string {
  if (value >= 1e9) return `${(value / 1e9).toFixed(1)}G`;
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)}M`;
  if (value >= 1e3) return `${(value / 1e3).toFixed(1)}k`;
  return value.toFixed(0);
}

/** 61234 -> "61,234". */
export function groupedCount(value: number): string {
  return value.toLocaleString('en-US');
}

/** 41000 ms -> "0:41"; 3725000 ms -> "1:02:05". */
export function clockTime(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const two = (value: number) => String(value).padStart(2, '0');
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** Breaks a text between words into lines of at most `width` characters. A longer word has a line of its own. */
export function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

export function counted(count: number, noun: string): string {
  return `${groupedCount(count)} ${noun}${count === 1 ? '' : 's'}`;
}
