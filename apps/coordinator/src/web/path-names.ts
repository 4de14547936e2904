/** The paths of a run below its mount, except those of the API. */
export const PATHS = {
  /** Links of workers. */
  control: '/control',
  /** Links of workers to the run's own all-reduce. */
  reduce: '/reduce',
  /** Live links of dashboards. */
  live: '/live',
  /** The page for volunteers. */
  join: '/join/',
} as const;

/** The first names of all paths of a run, without the files of its pages. */
export const FIRST_NAMES: readonly string[] = [
  ...Object.values(PATHS).map((path) => path.split('/')[1]),
  'api',
  'healthz',
  'metrics',
];
