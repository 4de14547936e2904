import { CELLS } from '@troupe/protocol';

/**
 * The flags of a run, one table for `troupe train`, `troupe coordinator` and their help. Values arrive as text and leave
 * validated; `undefined` means: not given.
 */
export interface RunOption {
  /** "--layers". */
  readonly flag: string;
  readonly kind: 'whole' | 'real' | 'text' | 'choice' | 'switch';
  readonly choices?: readonly string[];
  /** What stands behind the flag in the help: "L". */
  readonly placeholder?: string;
  /** Shown in the help; the default itself. Absent for switches and for flags whose absence has a meaning of its own. */
  readonly default?: string;
  readonly help: string;
  readonly group: 'Model' | 'Data' | 'Training' | 'Run' | 'Network';
}

export const RUN_OPTIONS: readonly RunOption[] = [
  {
    flag: '--corpus',
    kind: 'text',
    placeholder: 'C',
    default: 'sonnets',
    group: 'Data',
    help: 'sonnets (built in), a named corpus (see troupe corpus list), or the path of a UTF-8 text file',
  },
  {
    flag: '--batch',
    kind: 'whole',
    placeholder: 'B',
    default: '32',
    group: 'Data',
    help: 'streams: parallel tracks of the corpus, the global batch, whoever computes it',
  },
  {
    flag: '--window',
    kind: 'whole',
    placeholder: 'T',
    default: '64',
    group: 'Data',
    help: 'time steps of truncated back-propagation',
  },
  {
    flag: '--cell',
    kind: 'choice',
    choices: CELLS,
    placeholder: 'CELL',
    default: 'lstm',
    group: 'Model',
    help:
      'lstm: long short-term memory; gru: gated recurrent unit, reset gate before the matrix product; gru-reset-after: ' +
      "after it, as PyTorch's GRU; rnn-tanh, rnn-relu: plain recurrence",
  },
  { flag: '--layers', kind: 'whole', placeholder: 'L', default: '1', group: 'Model', help: 'recurrent layers' },
  { flag: '--hidden', kind: 'whole', placeholder: 'H', default: '256', group: 'Model', help: 'hidden units per layer' },
  {
    flag: '--embedding',
    kind: 'whole',
    placeholder: 'E',
    group: 'Model',
    help: 'length of a learned vector for each character; 0 = characters enter one-hot (default: 0; H with --tied)',
  },
  {
    flag: '--tied',
    kind: 'switch',
    group: 'Model',
    help: 'embedding and output layer share one matrix; the embedding is as long as the hidden layer',
  },
  {
    flag: '--dropout',
    kind: 'real',
    placeholder: 'P',
    default: '0',
    group: 'Model',
    help: 'probability, below 1, that an output of a layer is dropped on its way to the layer above; no effect with one layer',
  },
  {
    flag: '--layer-norm',
    kind: 'switch',
    group: 'Model',
    help: 'normalise what each layer hands up: learns faster, and to a lower loss, for little time',
  },
  {
    flag: '--forget-bias',
    kind: 'real',
    placeholder: 'X',
    default: '1',
    group: 'Model',
    help: 'lstm: what the biases of its forget gates start from',
  },
  {
    flag: '--rounds',
    kind: 'whole',
    placeholder: 'N',
    default: '1500',
    group: 'Training',
    help: 'global steps; each takes one window of every stream',
  },
  {
    flag: '--optimizer',
    kind: 'choice',
    choices: ['adam', 'adamw', 'sgd'],
    default: 'adam',
    group: 'Training',
    help: 'how an update becomes a step',
  },
  {
    flag: '--lr',
    kind: 'real',
    placeholder: 'X',
    default: '0.01',
    group: 'Training',
    help: 'peak learning rate (for sgd try 1)',
  },
  {
    flag: '--schedule',
    kind: 'choice',
    choices: ['cosine', 'constant', 'step'],
    default: 'cosine',
    group: 'Training',
    help: 'how the learning rate changes over the run',
  },
  {
    flag: '--warmup',
    kind: 'whole',
    placeholder: 'N',
    default: '20',
    group: 'Training',
    help: 'cosine: rounds of linear warm-up',
  },
  {
    flag: '--lr-final',
    kind: 'real',
    placeholder: 'X',
    default: '0.02',
    group: 'Training',
    help: 'cosine: last learning rate, as a fraction of the peak',
  },
  {
    flag: '--lr-step',
    kind: 'whole',
    placeholder: 'N',
    default: '500',
    group: 'Training',
    help: 'step: rounds between two decays',
  },
  { flag: '--lr-factor', kind: 'real', placeholder: 'X', default: '0.5', group: 'Training', help: 'step: factor of each decay' },
  { flag: '--momentum', kind: 'real', placeholder: 'X', default: '0.9', group: 'Training', help: 'sgd: momentum' },
  {
    flag: '--beta1',
    kind: 'real',
    placeholder: 'X',
    default: '0.9',
    group: 'Training',
    help: 'adam, adamw: decay of the first moment',
  },
  {
    flag: '--beta2',
    kind: 'real',
    placeholder: 'X',
    default: '0.99',
    group: 'Training',
    help: 'adam, adamw: decay of the second moment',
  },
  {
    flag: '--weight-decay',
    kind: 'real',
    placeholder: 'X',
    default: '0',
    group: 'Training',
    help: 'L2 penalty (decoupled for adamw)',
  },
  {
    flag: '--clip',
    kind: 'real',
    placeholder: 'X',
    default: '5',
    group: 'Training',
    help: 'clip the global norm of the mean gradient to X; 0 = never',
  },
  {
    flag: '--seed',
    kind: 'whole',
    placeholder: 'S',
    default: '1',
    group: 'Training',
    help: 'first parameters and samples follow from it',
  },
  {
    flag: '--reproducible',
    kind: 'switch',
    group: 'Training',
    help:
      'the same bits whoever takes part, comes, goes or crashes: leases of a fixed size, sums in a fixed order, and engine wasm ' +
      'without relaxed SIMD on every worker; slower',
  },
  {
    flag: '--lease-streams',
    kind: 'whole',
    placeholder: 'N',
    group: 'Training',
    help: 'streams of a lease in a reproducible run; part of what its result depends on (default: an eighth of the batch)',
  },
  { flag: '--wire', kind: 'choice', choices: ['fp16', 'fp32'], default: 'fp16', group: 'Network', help: 'how gradients travel' },
  {
    flag: '--out',
    kind: 'text',
    placeholder: 'DIR',
    group: 'Run',
    help: 'folder for checkpoints (default: the next free runs/NNN)',
  },
  {
    flag: '--resume',
    kind: 'switch',
    group: 'Run',
    help: 'go on from the last checkpoint in --out (default: the newest of runs/)',
  },
  {
    flag: '--checkpoint-every',
    kind: 'whole',
    placeholder: 'N',
    default: '200',
    group: 'Run',
    help: 'rounds between checkpoints; 0 = only at the end',
  },
  { flag: '--keep', kind: 'whole', placeholder: 'N', default: '3', group: 'Run', help: 'checkpoints kept besides the best one' },
  {
    flag: '--eval-every',
    kind: 'whole',
    placeholder: 'N',
    default: '100',
    group: 'Run',
    help: 'rounds between validations; 0 = only at the end',
  },
  {
    flag: '--sample-every',
    kind: 'whole',
    placeholder: 'N',
    default: '200',
    group: 'Run',
    help: 'rounds between printed samples; 0 = only at the end',
  },
  {
    flag: '--name',
    kind: 'text',
    placeholder: 'TEXT',
    group: 'Run',
    help: 'what the run is called on its pages (default: the model and the corpus)',
  },
  {
    flag: '--organizer',
    kind: 'text',
    placeholder: 'TEXT',
    group: 'Run',
    help: 'who runs it, for volunteers to know',
  },
  {
    flag: '--tensorboard',
    kind: 'switch',
    group: 'Run',
    help: 'write event files for TensorBoard too, in the folder tensorboard beside the checkpoints',
  },
  {
    flag: '--host',
    kind: 'text',
    placeholder: 'H',
    default: '127.0.0.1',
    group: 'Network',
    help: 'address to listen on; 0.0.0.0 lets other machines join',
  },
  {
    flag: '--port',
    kind: 'whole',
    placeholder: 'P',
    default: '7070',
    group: 'Network',
    help: 'port to listen on; 0 = any free one',
  },
  {
    flag: '--token',
    kind: 'text',
    placeholder: 'TOKEN',
    group: 'Network',
    help: 'what workers must show to join (default: TROUPE_TOKEN, else a random one, printed)',
  },
  {
    flag: '--admin-token',
    kind: 'text',
    placeholder: 'TOKEN',
    group: 'Network',
    help: 'what the dashboard must show to see and steer the run (default: TROUPE_ADMIN_TOKEN, else a random one, printed)',
  },
  {
    flag: '--public',
    kind: 'switch',
    group: 'Network',
    help: 'anyone who reaches the coordinator may watch the run, without a token; steering still takes the admin token',
  },
  {
    flag: '--allow-host',
    kind: 'text',
    placeholder: 'NAMES',
    group: 'Network',
    help:
      'names, with commas between, under which browsers may reach the dashboard, besides localhost, this machine and bare ' +
      'addresses: those of a proxy in front',
  },
  {
    flag: '--tls-cert',
    kind: 'text',
    placeholder: 'FILE',
    group: 'Network',
    help:
      'certificate (PEM, with those between it and the root) for https and wss instead of http and ws, with --tls-key; a renewed ' +
      'file is taken up within seconds',
  },
  {
    flag: '--tls-key',
    kind: 'text',
    placeholder: 'FILE',
    group: 'Network',
    help: 'private key of that certificate (PEM, without a passphrase)',
  },
  {
    flag: '--behind-proxy',
    kind: 'switch',
    group: 'Network',
    help:
      'a proxy is in front: believe its X-Forwarded-For, -Proto and -Host, and print links that begin with https:// and the first ' +
      'name of --allow-host; only where nobody can connect but the proxy',
  },
  {
    flag: '--allreduce',
    kind: 'text',
    placeholder: 'URL',
    group: 'Network',
    help: 'an all-reduce service running elsewhere (default: inside the coordinator); its secret in TROUPE_ALLREDUCE_TOKEN if it is not the token of the run',
  },
];
