/** A real coordinator that notifies a real server. */
import fs from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Notice } from '../../src/notify/notices.js';
import { scratch, startCoordinator } from '../running.js';

const SECRET = 'a-secret-of-the-hook';

let out = '';
let server: http.Server;
let url = '';
let notices: Notice[];
beforeEach(async () => {
  out = await scratch();
  notices = [];
  server = http.createServer((request, response) => {
    void request.toArray().then((chunks) => {
      notices.push(JSON.parse(Buffer.concat(chunks as Buffer[]).toString()) as Notice);
      response.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/${SECRET}`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await fs.rm(out, { recursive: true, force: true });
});

async function folderTexts(): Promise<string> {
  const names = await fs.readdir(out);
  return (await Promise.all(names.map((name) => fs.readFile(path.join(out, name), 'latin1')))).join('');
}

it('a run tells its start and its end, and the address stays secret and is not stored', async () => {
  const run = await startCoordinator(`--out=${out}`, '--rounds=3', '--name=Sonnets', `--notify=${url}`);
  run.join('w');
  await run.ended;
  expect(notices.map(({ event, round }) => [event, round])).toEqual([
    ['started', 0],
    ['finished', 3],
  ]);
  expect(notices[1].text).toMatch(/^Sonnets: The run is complete, at round 3 of 3\./);
  expect(JSON.stringify(run.events)).not.toContain(SECRET);
  expect(await folderTexts()).not.toContain(SECRET);
  const again = await startCoordinator(`--out=${out}`, '--resume', '--rounds=4');
  again.join('w');
  await again.ended;
  expect(notices).toHaveLength(2);
});

it('a resumed run tells on, if the address is given again, and that it diverged', async () => {
  const first = await startCoordinator(`--out=${out}`, '--rounds=1000');
  first.join('w');
  await first.round(2);
  await first.stop();
  const run = await startCoordinator(`--out=${out}`, '--resume', '--max-loss=0.01', `--notify=${url}`);
  run.join('w');
  await expect(run.ended).rejects.toMatchObject({ code: 'diverged' });
  expect(notices.map(({ event }) => event)).toEqual(['started', 'diverged']);
  expect(notices[0].text).toMatch(/continues from round \d+/);
});
