/** Draws who has helped. */
import { creditedAs } from '@troupe/run/credits';
import { boardOf, type BoardRow, type CreditFacts } from '../decisions/board.js';
import type { Texts } from '../texts.js';
import { element, html, setText, show } from './dom.js';
import type { Numbers } from './numbers.js';
import type { Scene } from './scene.js';

const MOST_NAMES = 5;
const MOST_TEAMS = 3;

interface Line {
  readonly rank: string;
  readonly who: string;
  readonly amount: string;
  readonly isMe?: boolean;
}

export function drawBoard({ credits, settings }: Scene, texts: Texts, numbers: Numbers): void {
  show(html('board'), credits !== undefined && credits.characters > 0);
  if (!credits) return;
  const me = settings.showName ? creditedAs(settings.name, settings.team) : undefined;
  drawLines(
    html('board-names'),
    boardOf(credits, me, MOST_NAMES).map((row) => lineOf(row, texts, numbers)),
  );
  setText(html('board-rest'), restText(credits, texts, numbers));
  const teams = credits.teams.slice(0, MOST_TEAMS);
  show(html('board-teams-part'), teams.length > 0);
  drawLines(
    html('board-teams'),
    teams.map(({ team, characters }, i) => ({
      rank: numbers.whole(i + 1),
      who: team,
      amount: texts.boardTeam(numbers.short(characters)),
    })),
  );
}

function lineOf({ rank, name, team, characters, share, isMe }: BoardRow, texts: Texts, numbers: Numbers): Line {
  const who = [name, team, isMe ? texts.boardMe : ''].filter((part) => part !== '').join(' · ');
  return { rank: numbers.whole(rank), who, amount: texts.boardRow(numbers.short(characters), numbers.percent(share)), isMe };
}

function restText({ anonymous, characters, names }: CreditFacts, texts: Texts, numbers: Numbers): string {
  const part = numbers.percent(anonymous / Math.max(1, characters));
  const rest = anonymous > 0 ? texts.boardRest(numbers.short(anonymous), part) : '';
  return [names.length === 0 ? texts.boardNone : '', rest].filter((one) => one !== '').join(' ');
}

/** Changes only what differs. The numbers are text, because a list may skip to the volunteer's own rank. */
function drawLines(list: HTMLElement, lines: readonly Line[]): void {
  while (list.children.length > lines.length) list.lastElementChild!.remove();
  while (list.children.length < lines.length) {
    const row = element('li', '');
    row.append(element('span', ''), element('b', ''), element('span', ''));
    list.append(row);
  }
  lines.forEach(({ rank, who, amount, isMe = false }, i) => {
    const row = list.children[i];
    row.classList.toggle('me', isMe);
    [rank, who, amount].forEach((text, part) => setText(row.children[part], text));
  });
}
