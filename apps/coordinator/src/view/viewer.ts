/** Serves the dashboard over every run in a folder, computing or not, and a list of them. It only reads. */
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HISTORY_FILE } from '../record/history-file.js';
import type { Report } from '../reporter.js';
import { refuseUpgrade, sendFailure, sendText, ApiFailure } from '../server/http.js';
import type { Exchange } from '../server/mounts.js';
import { loadPages, type Pages } from '../server/pages.js';
import { createWebServer, type MountPoint, type WebServer } from '../server/server.js';
import { PATHS } from '../web/path-names.js';
import { listPage, PAGE_HEADERS } from './list-page.js';
import { openStoredRun } from './stored-run.js';
import { createStoredSite, type StoredSite } from './stored-site.js';

/** Of each run that somebody has opened. */
const REFRESH_MS = 1_000;
const MAX_RUNS = 200;
/** Entries looked at in the folder, which may contain anything. */
const MAX_FOLDERS = 2_000;

export interface ViewerOptions {
  readonly folder: string;
  readonly host: string;
  readonly port: number;
  readonly report: Report;
  /** Called once it listens, with the link for a browser. */
  onListening(link: string, runs: number): void;
  readonly signal: AbortSignal;
}

/** The folder cannot be shown. */
export class ViewError extends Error {
  override readonly name = 'ViewError';
  readonly remedy: string;
  constructor(message: string, remedy: string) {
    super(message);
    this.remedy = remedy;
  }
}

/** Resolves when `signal` aborts. @throws ViewError, TransportError */
export async function view(options: ViewerOptions): Promise<void> {
  const { host, port, report, signal } = options;
  const isRun = (await stat(path.join(options.folder, HISTORY_FILE)).catch(() => undefined)) !== undefined;
  const folder = isRun ? path.dirname(path.resolve(options.folder)) : options.folder;
  const server = createWebServer({ allowedHosts: [], behindProxy: false });
  const viewer = new Viewer(folder, server, await loadPages(), report);
  try {
    await viewer.scan();
    const onFailed = ({ message }: Error): void =>
      report({ event: 'note', level: 'warn', text: `the server failed: ${message}` });
    await server.listen({ host, port, local: false, onFailed });
    const at = isRun ? `/${nameOf(path.basename(path.resolve(options.folder)))}/` : '/';
    options.onListening(viewer.link + at, viewer.runs);
    while (!signal.aborted)
      await sleep(REFRESH_MS, undefined, { signal }).then(
        () => viewer.refresh(),
        () => undefined,
      );
  } finally {
    server.close();
    await viewer.close();
  }
}

/** The name of a run's folder in its address. */
function nameOf(folder: string): string {
  return folder.replaceAll(/[^\w-]/g, '-');
}

interface Shown {
  readonly folder: string;
  readonly mount: MountPoint;
  /** Opened by the first request. */
  site: Promise<StoredSite | undefined> | undefined;
}

class Viewer {
  readonly #folder: string;
  readonly #server: WebServer;
  readonly #pages: Pages;
  readonly #report: Report;
  readonly #root: MountPoint;
  readonly #shown = new Map<string, Shown>();

  constructor(folder: string, server: WebServer, pages: Pages, report: Report) {
    this.#folder = folder;
    this.#server = server;
    this.#pages = { ...pages, volunteer: undefined };
    this.#report = report;
    const root = server.mount('');
    root.open({ answer: (exchange) => this.#answerList(exchange), upgrades: {}, links: {}, onLinkFailed: () => undefined });
    this.#root = root;
  }

  get link(): string {
    return this.#root.addresses().here;
  }

  get runs(): number {
    return this.#shown.size;
  }

  /** Mounts runs that are new. @throws ViewError */
  async scan(): Promise<void> {
    for (const folder of await runFolders(this.#folder)) {
      const name = nameOf(path.basename(folder));
      if (!this.#shown.has(name) && this.#shown.size < MAX_RUNS) this.#mount(name, folder);
    }
  }

  /** Reads what is new of the runs that somebody has opened. Never rejects. */
  async refresh(): Promise<void> {
    for (const shown of this.#shown.values()) {
      const site = await shown.site;
      const isSame = await site?.run.refresh().catch(() => false);
      if (!site || isSame) continue;
      // It was resumed at an earlier round, or is gone: the next request opens it again.
      shown.site = undefined;
      await site.close();
    }
  }

  async close(): Promise<void> {
    for (const { site } of this.#shown.values()) await (await site)?.close();
  }

  #mount(name: string, folder: string): void {
    const slot = this.#server.mount(`/${name}`);
    const shown: Shown = { folder, mount: slot, site: undefined };
    this.#shown.set(name, shown);
    slot.open({
      answer: async (exchange) => {
        const site = await this.#siteOf(shown);
        if (site) return site.routes.answer(exchange);
        return sendText(exchange.request, exchange.response, 'This run is not there any more.\n', { status: 404 });
      },
      upgrades: {
        [PATHS.live]: (request, socket, head) =>
          void this.#siteOf(shown).then((site) => {
            if (site) site.routes.upgrades[PATHS.live](request, socket, head);
            else refuseUpgrade(socket, '404 Not Found');
          }),
      },
      links: {},
      onLinkFailed: () => undefined,
    });
  }

  /** Never rejects. */
  #siteOf(shown: Shown): Promise<StoredSite | undefined> {
    shown.site ??= this.#open(shown).catch((error: Error) => {
      this.#report({ event: 'note', level: 'warn', text: `${shown.folder} cannot be shown: ${error.message}` });
      shown.site = undefined;
      return undefined;
    });
    return shown.site;
  }

  async #open({ folder, mount }: Shown): Promise<StoredSite | undefined> {
    const run = await openStoredRun(folder, () => Date.now());
    return run && createStoredSite({ run, mount, pages: this.#pages, report: this.#report });
  }

  async #answerList({ path: at, request, response }: Exchange): Promise<void> {
    try {
      this.#root.checkSite(request);
      if (at !== '/')
        return await sendText(request, response, 'There is nothing here. The list of runs is at /.\n', { status: 404 });
      await this.scan();
      const rows = await Promise.all(
        [...this.#shown].map(async ([name, shown]) => ({ name, run: (await this.#siteOf(shown))?.run })),
      );
      const html = listPage(path.resolve(this.#folder), rows);
      await sendText(request, response, html, { type: 'text/html; charset=utf-8', headers: PAGE_HEADERS });
    } catch (error) {
      if (error instanceof ApiFailure) return sendFailure(request, response, error);
      if (!(error instanceof ViewError)) throw error;
      await sendText(request, response, `${error.message}\n${error.remedy}\n`, { status: 500 });
    }
  }
}

/** Folders with a history, by name. @throws ViewError */
async function runFolders(parent: string): Promise<string[]> {
  const entries = await readdir(parent, { withFileTypes: true }).catch(({ message }: Error) => {
    throw new ViewError(
      `The folder ${path.resolve(parent)} cannot be read: ${message}`,
      'Give the folder of your runs, or of one run.',
    );
  });
  const found: string[] = [];
  for (const entry of entries.slice(0, MAX_FOLDERS)) {
    const folder = path.join(parent, entry.name);
    const history = await stat(path.join(folder, HISTORY_FILE)).catch(() => undefined);
    if (history?.isFile()) found.push(folder);
  }
  return found.sort();
}
