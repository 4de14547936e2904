/** Who is banned, and why, for admins, who can lift a ban. */
import type { Ban } from '@troupe/run';
import { isAdmin } from '../state/state.js';
import { askNowAndThen } from './asking.js';
import { make, setAttribute, the } from './dom.js';
import { attempt, type Page, type Panel } from './page.js';

export function createBans(page: Page): Panel {
  let bans: readonly Ban[] = [];
  const ask = askNowAndThen(
    page,
    (signal) => page.api.bans(signal),
    (answer) => {
      ({ bans } = answer);
      draw();
    },
    () => isAdmin(page.state),
  );

  return (state, before) => {
    if (!before || isAdmin(before) !== isAdmin(state)) draw();
    const isNews = before?.link.at !== 'live' || state.view?.workerCount !== before.view?.workerCount;
    if (state.link.at === 'live' && isNews) void ask();
  };

  function draw(): void {
    const { texts } = page;
    the('bans').hidden = bans.length === 0 || !isAdmin(page.state);
    setAttribute(the('bans-scroll'), 'aria-label', texts.bans);
    const heads = [texts.columns.name, texts.banAddress, texts.banReason, texts.actions];
    const head = make('tr', {}, ...heads.map((text) => make('th', { scope: 'col', text })));
    the('bans-table').replaceChildren(make('thead', {}, head), make('tbody', {}, ...bans.map(rowOf)));
  }

  function rowOf(ban: Ban): HTMLElement {
    const lift = make('button', { type: 'button', className: 'small', text: page.texts.lift });
    setAttribute(lift, 'aria-label', `${page.texts.lift} ${ban.name}`);
    lift.addEventListener('click', () => void liftBan(ban));
    return make(
      'tr',
      {},
      make('th', { scope: 'row', className: 'name', text: ban.name }),
      make('td', { text: ban.address }),
      make('td', { text: ban.reason, lang: 'en' }),
      make('td', {}, lift),
    );
  }

  async function liftBan({ id, name }: Ban): Promise<void> {
    const { texts } = page;
    if (!(await page.confirm(texts.liftTitle(name), texts.liftWhat, texts.lift))) return;
    await attempt(page, async () => (await page.api.control({ action: 'unban', ban: id })).text);
    await ask();
  }
}
