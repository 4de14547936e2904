/** Volunteers who allow direct links: their browsers exchange gradients over WebRTC, and sum for each other. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { findNodeRtc } from '@troupe/transport/webrtc-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Tab } from './chromium.js';
import { hashes } from './company.js';
import { setStage, startHelping, TOKEN, type Run } from './stage.js';
import { at, named, scratch, steer, type Line } from './troupe.js';

const rtc = await findNodeRtc();
const SOON = { timeout: 30_000 };
const ADMIN = 'a-token-of-admins';
const stage = setStage('volunteer', []);
const { coordinate } = stage;

/** Opens the page of a run. @param prelude runs before the scripts of the page */
async function join({ origin }: Pick<Run, 'origin'>, prelude = ''): Promise<Tab> {
  const tab = await stage.visit('about:blank');
  await tab.command('Page.addScriptToEvaluateOnNewDocument', { source: prelude });
  await tab.open(`${origin}/join/#token=${TOKEN}`);
  return tab;
}

/** Stores the settings of a volunteer before the page reads them. Its engine is slow: each worker is needed, and none is parked. */
const SLOW = `if (location.protocol === 'http:')
  localStorage.setItem('troupe.terms', JSON.stringify({ share: 20, directLinks: true, pauseOnBattery: false }));`;
/** Rounds in which computing takes longer than the links. */
const LARGE = ['--hidden', '96', '--window', '64', '--rounds', '60'];
/** The machine is shared by three browsers, a worker, a coordinator and other tests. */
const TIMEOUT_MS = 180_000;

/** Some of the workers sum. Others may be parked by then: how many does not matter, and no test can tell. */
const summing = (line: Line): boolean =>
  line.event === 'decision' && ((line.decision as { reducers?: readonly string[] }).reducers?.length ?? 0) > 1;
const changed = (change: string, word: string) => (line: Line) =>
  line.event === 'worker' && line.change === change && JSON.stringify(line).includes(word);
const linkedTo = (machines: string): string =>
  `document.querySelector('#direct').textContent === 'Linked directly to ${machines} of the run.'`;

describe.skipIf(stage.missing !== undefined)('volunteers with direct links', () => {
  const others = rtc ? 'a worker in Node' : 'nobody else (SKIPPED: npm install node-datachannel)';
  it(
    `sum for each other and for ${others}, with the same result as a star, and go on when one leaves`,
    async () => {
      const folder = await scratch();
      onTestFinished(() => fs.rm(folder, { recursive: true, force: true }));
      const flags = [...LARGE, '--reproducible', '--lease-streams', '2', '--eval-every', '0', '--checkpoint-every', '0'];
      const star = await coordinate(path.join(folder, 'star'), ...flags);
      stage.work(star, 'alone');

      const run = await coordinate(path.join(folder, 'peers'), ...flags, '--topology', 'peers', '--admin-token', ADMIN);
      await steer(run.origin, ADMIN, 'pause');
      const tabs = [await join(run, SLOW), await join(run, SLOW), await join(run, SLOW)];
      for (const tab of tabs) await startHelping(tab);
      if (rtc) stage.work(run, 'node', '--webrtc', '--share', '20');
      const members = rtc ? 4 : 3;
      for (const tab of tabs) await tab.until(linkedTo(`${members - 1} machines`));
      expect(await star.running.exited).toMatchObject({ code: 0 });
      await steer(run.origin, ADMIN, 'resume');
      await run.running.line(summing);
      await run.running.line(at(run.running.lines.filter(named('round')).length + 20));
      await tabs[2].click('#leave');
      await tabs[2].until(`document.querySelector('#direct').hidden`);
      expect(await run.running.exited).toMatchObject({ code: 0 });
      expect(await hashes(path.join(folder, 'peers'))).toEqual(await hashes(path.join(folder, 'star')));
      expect(tabs.flatMap(({ complaints }) => complaints).filter((text) => /Security Policy|exception/i.test(text))).toEqual([]);
    },
    TIMEOUT_MS,
  );

  it('turn them on and off while they compute, and are told what that means', async () => {
    const run = await coordinate('turned');
    const tab = await join(run);
    expect(await tab.evaluate(`document.querySelector('#direct-links').checked`)).toBe(false);
    await tab.until(`document.querySelector('#what-organizer').textContent.endsWith('and nowhere else.')`);
    expect(await tab.text('#direct-hint')).toMatch(/network address.*uploads more data/);
    await startHelping(tab);
    await run.running.line(changed('ready', 'volunteer'));
    await tab.click('#direct-links');
    await run.running.line(changed('left', 'direct links were turned on'));
    await tab.until(`/^No direct links yet/.test(document.querySelector('#direct').textContent)`);
    await tab.until(`/over direct links, to other machines/.test(document.querySelector('#what-organizer').textContent)`);
    await expect.poll(() => run.running.lines.filter(changed('ready', 'volunteer')).length, SOON).toBe(2);
    await tab.click('#direct-links');
    await run.running.line(changed('left', 'direct links were turned off'));
    await tab.until(`document.querySelector('#direct').hidden`);
  });

  it(
    'are told when a network blocks them, and compute all the same',
    async () => {
      const run = await coordinate('blocked', '--topology', 'peers', '--admin-token', ADMIN);
      // Nobody is parked before there are links to try.
      await steer(run.origin, ADMIN, 'pause');
      // Without a TURN server there is no path left.
      const blocked = `window.RTCPeerConnection = class extends RTCPeerConnection {
      constructor(config) { super({ ...config, iceTransportPolicy: 'relay' }); } };`;
      const phone = `Object.defineProperty(navigator, 'userAgentData', { value: { mobile: true } });`;
      const tabs = [await join(run, `${blocked} ${phone} ${SLOW}`), await join(run, SLOW), await join(run, SLOW)];
      for (const tab of tabs) await startHelping(tab);
      await tabs[0].until(`/^A network blocks direct links/.test(document.querySelector('#direct').textContent)`, 60_000);
      await steer(run.origin, ADMIN, 'resume');
      await run.running.line(at(2));
    },
    TIMEOUT_MS,
  );

  it('are not offered them where the browser has no WebRTC', async () => {
    const run = await coordinate('without');
    const tab = await join(run, `delete window.RTCPeerConnection; ${SLOW}`);
    expect(await tab.evaluate(`document.querySelector('#direct-field').hidden`)).toBe(true);
    expect(await tab.text('#what-organizer')).toMatch(/and nowhere else/);
    await startHelping(tab);
    await run.running.line(at(3));
    expect(await tab.evaluate(`document.querySelector('#direct').hidden`)).toBe(true);
  });
});
