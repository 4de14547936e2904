/** A picture for the volunteer to keep: who computed how much of which run, and a line that the model wrote. */
export interface CardFacts {
  /** Empty: none is shown. */
  readonly name: string;
  readonly team: string;
  readonly run: string;
  /** "1,234,567 characters computed". */
  readonly amount: string;
  /** "3.1% of this run"; empty: unknown. */
  readonly part: string;
  /** That the model wrote; empty: none. */
  readonly line: string;
  /** "written by the model after round 400"; empty: none. */
  readonly source: string;
  readonly language: string;
}

const WIDTH = 1200;
const HEIGHT = 630;
const MOST = { line: 64, name: 40, run: 60 };

/** A line of a sample that fits the card: the first long one, else the longest. */
export function quotedLine(sample: string): string {
  const lines = sample.split('\n').map((line) => line.replaceAll(/\s+/g, ' ').trim());
  const fitting = lines.filter((line) => [...line].length <= MOST.line);
  // The first and the last line of a sample are often cut.
  const whole = fitting.length > 2 ? fitting.slice(1, -1) : fitting;
  const [longest = ''] = [...whole].sort((a, b) => b.length - a.length);
  const chosen = whole.find((line) => line.length >= 24) ?? longest;
  return chosen === '' ? cutWords(lines.find((line) => line !== '') ?? '', MOST.line) : chosen;
}

/** Cut after a whole word, if one ends in the second half. */
function cutWords(text: string, most: number): string {
  const short = cut(text, most);
  const end = short.lastIndexOf(' ');
  return short === text || end < most / 2 ? short : `${short.slice(0, end)}…`;
}

function cut(text: string, most: number): string {
  const characters = [...text];
  return characters.length <= most ? text : `${characters.slice(0, most - 1).join('')}…`;
}

/** Text enters as text, whatever it holds. XML knows no control characters. */
function escaped(text: string): string {
  return text.replaceAll(/[^\P{Cc}\n\t]|\p{Cs}/gu, '').replaceAll(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`);
}

/** @returns an SVG document that needs nothing from elsewhere */
export function cardSvg({ name, team, run, amount, part, line, source, language }: CardFacts): string {
  const who = [name, team].filter((one) => one !== '').map((one) => cut(one, MOST.name));
  const rows: (readonly [y: number, size: number, style: string, words: string])[] = [
    [110, 34, 'fill="#7fd0e4" font-weight="700" letter-spacing="4"', 'TROUPE'],
    [190, 52, 'font-weight="700"', cut(run, MOST.run)],
    [270, 40, '', who.join(' · ')],
    [365, 64, 'font-weight="700" fill="#7fd0e4"', amount],
    [425, 36, 'fill="#a9b2b9"', part],
    [515, 36, 'font-family="Georgia,serif" font-style="italic"', line === '' ? '' : `“${cut(line, MOST.line)}”`],
    [565, 26, 'fill="#a9b2b9"', line === '' ? '' : source],
  ];
  const texts = rows
    .filter(([, , , words]) => words !== '')
    .map(([y, size, style, words]) => {
      // Glyphs are at most about 0.62 of the size wide: what is longer is squeezed to stay on the card.
      const squeeze =
        [...words].length * size * 0.62 > WIDTH - 140 ? ` textLength="${WIDTH - 140}" lengthAdjust="spacingAndGlyphs"` : '';
      return `<text x="70" y="${y}" font-size="${size}" ${style}${squeeze}>${escaped(words)}</text>`;
    });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" xml:lang="${escaped(language)}">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#14181b"/><rect width="16" height="${HEIGHT}" fill="#7fd0e4"/>`,
    `<g fill="#eceae4" font-family="system-ui,'Segoe UI',Roboto,'Noto Sans','Noto Sans SC','PingFang SC',sans-serif">`,
    ...texts,
    '</g></svg>',
  ].join('\n');
}
