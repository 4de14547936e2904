/** The built pages, which all runs share. */
import { fileURLToPath } from 'node:url';
import { loadSite, type StaticSite } from './static-site.js';

/** A page is undefined if it is not built. */
export interface Pages {
  readonly dashboard: StaticSite | undefined;
  readonly volunteer: StaticSite | undefined;
}

/** The folder of a built page; the same relative to dist/server and src/server. */
const built = (app: string): string => fileURLToPath(new URL(`../../../${app}/dist`, import.meta.url));

export async function loadPages(): Promise<Pages> {
  const [dashboard, volunteer] = await Promise.all([loadSite(built('dashboard')), loadSite(built('volunteer'))]);
  return { dashboard, volunteer };
}
