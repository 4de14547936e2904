/** What an admin may do; hidden from everyone else. */
import type { ControlRequest } from '@troupe/run';
import qrcode from 'qrcode-generator';
import { isLoopbackLink } from '../reading/reach.js';
import { isAdmin, type DashboardState } from '../state/state.js';
import { busy } from './busy.js';
import { saveFile, setAttribute, setText, the } from './dom.js';
import { attempt, changed, type Page, type Panel } from './page.js';

export function createControls(page: Page): Panel {
  const order = (request: ControlRequest): Promise<boolean> => attempt(page, async () => (await page.api.control(request)).text);
  /** A run may end, or its coordinator go, while an order is under way. */
  const onClick = (button: HTMLButtonElement, work: () => Promise<unknown>): void =>
    button.addEventListener('click', () => void busy(button, work).then(() => (button.disabled = !canSteer(page.state))));
  const pause = the('pause', HTMLButtonElement);
  onClick(pause, () => order({ action: pausedByHand(page.state) ? 'resume' : 'pause' }));
  const checkpoint = the('checkpoint', HTMLButtonElement);
  onClick(checkpoint, () => order({ action: 'checkpoint' }));
  const stop = the('stop', HTMLButtonElement);
  onClick(stop, () => confirmStop(page, order));
  const download = the('download', HTMLButtonElement);
  download.addEventListener('click', () => void busy(download, () => attempt(page, () => save(page))));
  const settings = createSettings(page, order);
  const invite = createInvite(page);

  return (state, before) => {
    const admin = isAdmin(state);
    the('steer').hidden = !admin;
    // A finished run takes no orders.
    the('controls').hidden = !admin || isOver(state);
    if (!admin || !changed(state, before, 'view', 'link')) return;
    setAttribute(the('controls'), 'aria-label', page.texts.controls);
    setText(pause, pausedByHand(state) ? page.texts.resume : page.texts.pause);
    for (const button of [pause, stop, checkpoint]) if (!button.matches('[aria-busy=true]')) button.disabled = !canSteer(state);
    settings(state);
    invite(state);
  };
}

const isOver = ({ view }: DashboardState): boolean => view?.phase === 'over';
const canSteer = (state: DashboardState): boolean => !isOver(state) && state.link.at === 'live';

/** The coordinator's name for a pause by an admin; pauses for a validation have other names. */
const PERSON = 'admin';

const pausedByHand = ({ view }: DashboardState): boolean => view?.pausedBy.includes(PERSON) ?? false;

async function confirmStop(page: Page, order: (request: ControlRequest) => Promise<boolean>): Promise<void> {
  const { stopTitle, stopWhat, stop } = page.texts;
  if (await page.confirm(stopTitle, stopWhat, stop)) await order({ action: 'stop' });
}

async function save(page: Page): Promise<undefined> {
  page.announce(page.texts.downloading);
  const { blob, name } = await page.api.checkpoint();
  saveFile(blob, name);
  page.announce(name);
}

/** Learning rate and clip norm. A view with the same values does not overwrite what the person types. */
function createSettings(page: Page, order: (request: ControlRequest) => Promise<boolean>): (state: DashboardState) => void {
  const rate = the('learning-rate', HTMLInputElement);
  const clip = the('clip', HTMLInputElement);
  const apply = the('apply', HTMLButtonElement);
  let reported = '';
  the('settings', HTMLFormElement).addEventListener('submit', (event) => {
    event.preventDefault();
    void busy(apply, () => order({ action: 'set', learningRate: rate.valueAsNumber, clip: clip.valueAsNumber }));
  });
  return (state) => {
    const { config, round, rounds } = state.view!;
    const { learningRate, clip: limit, leaseStreams } = config;
    const { overComplete, overEarly, fixed } = page.texts;
    const why = isOver(state) ? (round >= rounds ? overComplete : overEarly) : leaseStreams > 0 ? fixed : '';
    the('settings-fixed').hidden = why === '';
    setText(the('settings-fixed'), why);
    for (const field of [rate, clip, apply]) field.disabled = why !== '';
    const now = JSON.stringify([learningRate, limit]);
    if (now === reported) return;
    reported = now;
    rate.value = String(learningRate);
    clip.value = String(limit);
  };
}

function createInvite(page: Page): (state: DashboardState) => void {
  const link = the('invite-link', HTMLAnchorElement);
  let shown = '';
  the('copy').addEventListener('click', () => {
    navigator.clipboard.writeText(link.href).then(
      () => page.announce(page.texts.copied),
      () => page.announce(page.texts.copyFailed),
    );
  });
  return (state) => {
    const { joinLink, inviteCommand } = state.view!;
    the('invite').hidden = isOver(state) || (joinLink === undefined && inviteCommand === undefined);
    the('invite-here').hidden = joinLink === undefined || !isLoopbackLink(joinLink);
    for (const id of ['invite-what', 'invite-by-link']) the(id).hidden = joinLink === undefined;
    the('invite-how').hidden = inviteCommand === undefined;
    setText(the('invite-command'), inviteCommand ?? '');
    setAttribute(the('invite-code'), 'aria-label', page.texts.inviteCode);
    if (joinLink === undefined || joinLink === shown) return;
    shown = joinLink;
    link.href = joinLink;
    setText(link, joinLink);
    the('invite-code').replaceChildren(drawCode(joinLink, page.texts.inviteCode));
  };
}

/** Blank modules around a QR code. */
const QUIET_ZONE = 4;

/** One path for all dark modules. */
function drawCode(text: string, label: string): SVGElement {
  const code = qrcode(0, 'M');
  code.addData(text);
  code.make();
  const count = code.getModuleCount();
  const cells = Array.from({ length: count * count }, (_, i) => [i % count, Math.floor(i / count)]);
  const path = cells.filter(([x, y]) => code.isDark(y, x)).map(([x, y]) => `M${x + QUIET_ZONE} ${y + QUIET_ZONE}h1v1h-1z`);
  const make = (tag: 'svg' | 'path', attributes: Record<string, string>): SVGElement => {
    const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const size = count + 2 * QUIET_ZONE;
  const picture = make('svg', { viewBox: `0 0 ${size} ${size}`, role: 'img', 'aria-label': label, class: 'code' });
  picture.append(make('path', { d: path.join(''), 'shape-rendering': 'crispEdges' }));
  return picture;
}
