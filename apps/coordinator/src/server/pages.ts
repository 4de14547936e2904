/** The built pages that every run is shown and joined with. */
import { fileURLToPath } from 'node:url';
import { loadSite, type StaticSite } from './static-site.js';

/** Undefined where `npm run build` has not built a page. */
export interface Pages {
  readonly dashboard: StaticSite | undefined;
  readonly volunteer: StaticSite | undefined;
}

/** Where the build of a page is, seen from dist/server and src/server alike. */
const built = (app: string): string => fileURLToPath(new URL(`../../../${app}/dist`, import.meta.url));

export async function loadPages(): Promise<Pages> {
  const [dashboard, volunteer] = await Promise.all([loadSite(built('dashboard')), loadSite(built('volunteer'))]);
  return { dashboard, volunteer };
}
