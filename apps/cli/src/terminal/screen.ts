import type { LiveOutput, Output } from '../shell.js';

const REDRAW_MS = 100;
const LOG_MS = 2000;
const CLEAR_TO_END = '\x1b[K';
const CLEAR_BELOW = '\x1b[J';

export interface ScreenOptions {
  /**
   * The status line, or several, each at most `width` characters. Without a terminal `width` is
   * Infinity and the line goes to a log. Empty = no line.
   */
  readonly line: (width: number) => string;
  /** False: the terminal cannot redraw a line in place, so the line goes to a log. */
  readonly redraw?: boolean;
  /** Never show the line. */
  readonly quiet?: boolean;
}

/**
 * Prints scrolling text above status lines that are redrawn in place; most commands have one. Without a terminal the line
 * is printed when it has changed, at most every two seconds.
 */
export class Screen {
  readonly #output: Output & Partial<Pick<LiveOutput, 'isStalled'>>;
  #live: boolean;
  readonly #quiet: boolean;
  readonly #line: (width: number) => string;
  readonly #timer: NodeJS.Timeout | undefined;
  #drawn = '';

  constructor(output: Output & Partial<Pick<LiveOutput, 'isStalled'>>, options: ScreenOptions) {
    this.#output = output;
    this.#quiet = options.quiet === true;
    this.#live = output.isTTY === true && options.redraw !== false && !this.#quiet;
    this.#line = options.line;
    if (!this.#quiet) this.#timer = setInterval(() => this.refresh(), this.#live ? REDRAW_MS : LOG_MS);
    this.#timer?.unref();
  }

  /**
   * Columns that a line may fill. The last column stays free, because some terminals wrap there.
   */
  get width(): number {
    return Math.max(20, (this.#output.columns ?? 80) - 1);
  }

  /** Writes a text of one or more lines above the status line. */
  print(text: string): void {
    if (!this.#live) {
      this.#output.write(`${text}\n`);
      return;
    }
    const erase = this.#erase();
    // A status line that waits would be outdated when it shows.
    this.#drawn = this.#output.isStalled ? '' : this.#line(this.width);
    // One write, so that the line does not flicker.
    this.#output.write(`${erase}${text}\n${this.#drawn}`);
  }

  /** Redraws the line now if it has changed. */
  refresh(): void {
    if (this.#output.isStalled) return;
    const line = this.#line(this.#live ? this.width : Infinity);
    if (this.#quiet || line === this.#drawn || (line === '' && !this.#live)) return;
    const [top, above] = [this.#top(), linesIn(this.#drawn)];
    this.#drawn = line;
    if (!this.#live) this.#output.write(`${line}\n`);
    else
      this.#output.write(
        `${top}${line.replaceAll('\n', `${CLEAR_TO_END}\n`)}${above > linesIn(line) ? CLEAR_BELOW : CLEAR_TO_END}`,
      );
  }

  /** Moves to the beginning of the first status line. */
  #top(): string {
    const above = linesIn(this.#drawn) - 1;
    return above > 0 ? `\r\x1b[${above}A` : '\r';
  }

  #erase(): string {
    return this.#top() + (linesIn(this.#drawn) > 1 ? CLEAR_BELOW : CLEAR_TO_END);
  }

  /** Removes the line and stops redrawing. Later text is printed as usual. */
  close(): void {
    clearInterval(this.#timer);
    if (this.#live && this.#drawn !== '') this.#output.write(this.#erase());
    this.#live = false;
  }
}

function linesIn(text: string): number {
  return text.split('\n').length;
}
