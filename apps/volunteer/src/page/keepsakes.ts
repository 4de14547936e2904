/** What a volunteer can keep: a card, and the model itself. */
import { cardSvg, quotedLine } from '../decisions/card.js';
import { shareOf } from '../decisions/finish.js';
import type { Invitation } from '../decisions/link.js';
import { TEXTS, type Texts } from '../texts.js';
import { byId, html, setText, show } from './dom.js';
import { createNumbers } from './numbers.js';
import type { Scene } from './scene.js';

const ASK_MS = 10_000;
/** A model has a few megabytes, and a phone may be slow. */
const FETCH_MS = 300_000;

export function drawKeepsakes({ home, runCredit, isOn }: Scene, texts: Texts): void {
  const hasCard = (runCredit?.characters ?? 0) > 0;
  const hasHome = home !== 'absent';
  show(html('keep'), hasCard || hasHome);
  show(html('card'), hasCard);
  show(html('home'), hasHome);
  byId('home', HTMLButtonElement).disabled = home === 'busy';
  show(html('home-hint'), hasHome && !(isOn && home === 'offered'));
  const hints = { absent: '', offered: texts.homeHint, busy: texts.homeBusy, failed: texts.homeFailed };
  setText(html('home-hint'), hints[home]);
}

export function saveCard({ language, settings, facts, runCredit }: Scene): void {
  const texts = TEXTS[language];
  const numbers = createNumbers(language);
  const part = runCredit && facts ? shareOf(runCredit, facts) : undefined;
  const { sample } = facts ?? {};
  const svg = cardSvg({
    ...{ name: settings.name.trim(), team: settings.team.trim(), language },
    run: facts?.name ?? facts?.model ?? '',
    amount: texts.cardAmount(numbers.whole(runCredit?.characters ?? 0)),
    part: part === undefined ? '' : texts.cardPart(numbers.percent(part)),
    line: quotedLine(sample?.text ?? ''),
    source: sample?.round === undefined ? '' : texts.cardSource(numbers.whole(sample.round)),
  });
  save(new Blob([svg], { type: 'image/svg+xml' }), 'troupe-card.svg');
}

const request = ({ token }: Invitation, method: string, ms: number): RequestInit => ({
  method,
  headers: token === '' ? {} : { authorization: `Bearer ${token}` },
  cache: 'no-store',
  credentials: 'omit',
  signal: AbortSignal.timeout(ms),
});

const addressOf = ({ base }: Invitation): string => `${base}/api/model/web`;

/** Whether the coordinator has the model as a file now. */
export async function hasModel(invitation: Invitation): Promise<boolean> {
  try {
    return (await fetch(addressOf(invitation), request(invitation, 'HEAD', ASK_MS))).ok;
  } catch {
    return false;
  }
}

/** @returns false if it could not be fetched */
export async function saveModel(invitation: Invitation): Promise<boolean> {
  try {
    const response = await fetch(addressOf(invitation), request(invitation, 'GET', FETCH_MS));
    if (!response.ok) return false;
    const given = /filename="?([\w.-]+)"?/.exec(response.headers.get('content-disposition') ?? '')?.[1];
    save(await response.blob(), given ?? 'troupe-model.html');
    return true;
  } catch {
    return false;
  }
}

function save(blob: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The browser has taken the content by the next task at the latest.
  setTimeout(() => URL.revokeObjectURL(link.href), 1_000);
}
