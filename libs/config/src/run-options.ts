/** The flags of a run, one table for `troupe train`, `troupe coordinator` and their help. */
import { FLAG_FIELDS, type RunOption } from './flags.js';

/**
 * Values arrive as text and leave validated. Those of fields of the training config come from its tables; the others concern where a run
 * lies, who reaches it and how often it reports.
 */
export const RUN_OPTIONS: readonly RunOption[] = [
  {
    flag: '--corpus',
    type: 'text',
    placeholder: 'C',
    default: 'sonnets',
    group: 'Data',
    help: 'sonnets (built in), a named corpus (see troupe corpus list), or the path of a UTF-8 text file',
  },
  {
    flag: '--reproducible',
    type: 'switch',
    group: 'Reproducibility',
    help:
      'the same bits whoever takes part, comes, goes or crashes: leases of a fixed size, sums in a fixed order, and engine wasm ' +
      'without relaxed SIMD on every worker; slower',
  },
  ...FLAG_FIELDS.flatMap(({ option }) => option ?? []),
  {
    flag: '--out',
    type: 'text',
    placeholder: 'DIR',
    group: 'Run',
    help: 'folder for checkpoints (default: the next free runs/NNN)',
  },
  {
    flag: '--resume',
    type: 'switch',
    group: 'Run',
    help: 'go on from the last checkpoint in --out (default: the newest of runs/)',
  },
  {
    flag: '--checkpoint-every',
    type: 'whole',
    placeholder: 'N',
    default: '200',
    group: 'Run',
    help: 'rounds between checkpoints; 0 = only at the end',
  },
  { flag: '--keep', type: 'whole', placeholder: 'N', default: '3', group: 'Run', help: 'checkpoints kept besides the best one' },
  {
    flag: '--eval-every',
    type: 'whole',
    placeholder: 'N',
    default: '100',
    group: 'Run',
    help: 'rounds between validations; 0 = only at the end',
  },
  {
    flag: '--sample-every',
    type: 'whole',
    placeholder: 'N',
    default: '200',
    group: 'Run',
    help: 'rounds between printed samples; 0 = only at the end',
  },
  {
    flag: '--name',
    type: 'text',
    placeholder: 'TEXT',
    group: 'Run',
    help: 'what the run is called on its pages (default: the model and the corpus)',
  },
  { flag: '--organizer', type: 'text', placeholder: 'TEXT', group: 'Run', help: 'who runs it, for volunteers to know' },
  {
    flag: '--tensorboard',
    type: 'switch',
    group: 'Run',
    help: 'write event files for TensorBoard too, in the folder tensorboard beside the checkpoints',
  },
  {
    flag: '--host',
    type: 'text',
    placeholder: 'H',
    default: '127.0.0.1',
    group: 'Network',
    help: 'address to listen on; 0.0.0.0 lets other machines join',
  },
  {
    flag: '--port',
    type: 'whole',
    placeholder: 'P',
    default: '7070',
    group: 'Network',
    help: 'port to listen on; 0 = any free one',
  },
  {
    flag: '--token',
    type: 'text',
    placeholder: 'TOKEN',
    group: 'Network',
    help: 'what workers must show to join (default: TROUPE_TOKEN, else a random one, printed)',
  },
  {
    flag: '--admin-token',
    type: 'text',
    placeholder: 'TOKEN',
    group: 'Network',
    help: 'what the dashboard must show to see and steer the run (default: TROUPE_ADMIN_TOKEN, else a random one, printed)',
  },
  {
    flag: '--public',
    type: 'switch',
    group: 'Network',
    help: 'anyone who reaches the coordinator may watch the run, without a token; steering still takes the admin token',
  },
  {
    flag: '--allow-host',
    type: 'text',
    placeholder: 'NAMES',
    group: 'Network',
    help:
      'names, with commas between, under which browsers may reach the dashboard, besides localhost, this machine and bare ' +
      'addresses: those of a proxy in front',
  },
  {
    flag: '--tls-cert',
    type: 'text',
    placeholder: 'FILE',
    group: 'Network',
    help:
      'certificate (PEM, with those between it and the root) for https and wss instead of http and ws, with --tls-key; a renewed ' +
      'file is taken up within seconds',
  },
  {
    flag: '--tls-key',
    type: 'text',
    placeholder: 'FILE',
    group: 'Network',
    help: 'private key of that certificate (PEM, without a passphrase)',
  },
  {
    flag: '--behind-proxy',
    type: 'switch',
    group: 'Network',
    help:
      'a proxy is in front: believe its X-Forwarded-For, -Proto and -Host, and print links that begin with https:// and the first ' +
      'name of --allow-host; only where nobody can connect but the proxy',
  },
  {
    flag: '--allreduce',
    type: 'text',
    placeholder: 'URL',
    group: 'Network',
    help: 'an all-reduce service running elsewhere (default: inside the coordinator); its secret in TROUPE_ALLREDUCE_TOKEN if it is not the token of the run',
  },
];
