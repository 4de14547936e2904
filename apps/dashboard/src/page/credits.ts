/** Who computed what: names and teams of workers that want to be named, and the sum of all others. */
import type { CreditsView, NameCredit, TeamCredit } from '@troupe/run';
import { creditLines, type CreditLine } from '../reading/credits.js';
import { askNowAndThen } from './asking.js';
import { make, setText, the } from './dom.js';
import type { Page, Panel } from './page.js';

const MOST = 10;

export function createCredits(page: Page): Panel {
  let credits: CreditsView | undefined;
  const ask = askNowAndThen(
    page,
    (signal) => page.api.credits(signal),
    (answer) => {
      credits = answer;
      draw();
    },
  );

  return (state, before) => {
    if (!before) draw();
    if (state.view && state.view.workerCount !== before?.view?.workerCount)
      setText(the('helping'), page.texts.helpingNow(page.format.whole(state.view.workerCount)));
    if (state.link.at === 'live' && before?.link.at !== 'live') void ask();
  };

  function draw(): void {
    const { texts, format } = page;
    const nobody = !credits || credits.named === 0;
    the('credits-tables').hidden = nobody;
    setText(the('credits-none'), nobody ? texts.creditsNone : '');
    const rest = credits && credits.anonymous > 0 ? texts.creditsRest(format.compact(credits.anonymous)) : '';
    setText(the('credits-rest'), rest);
    if (!credits) return;
    const write = ({ who, team, characters, share }: CreditLine): HTMLElement =>
      make(
        'tr',
        {},
        make('th', { scope: 'row', text: who }, ...(team === '' ? [] : [make('span', { className: 'hint team', text: team })])),
        make('td', { className: 'number', text: format.compact(characters) }),
        make('td', { className: 'number', text: format.percent(share) }),
      );
    const { names, teams } = credits;
    const fill = (id: string, who: string, lines: readonly CreditLine[]): void => {
      const heads = [who, texts.creditsCharacters, texts.creditsShare];
      const cells = heads.map((text, i) => make('th', { scope: 'col', text, className: i === 0 ? '' : 'number' }));
      the(id).replaceChildren(make('thead', {}, make('tr', {}, ...cells)), make('tbody', {}, ...lines.map(write)));
    };
    fill('credits-names', texts.creditsName, linesOf(names, credits));
    fill('credits-teams', texts.creditsTeam, linesOf(teams, credits));
    the('credits-teams').hidden = teams.length === 0;
  }
}

function linesOf(of: readonly (NameCredit | TeamCredit)[], { characters }: CreditsView): CreditLine[] {
  return creditLines(of, characters, MOST);
}
