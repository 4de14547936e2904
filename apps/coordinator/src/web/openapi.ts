/** The HTTP API in OpenAPI 3.1. Tests compare every route with it. */
import { GRADIENT_CODECS, TOPOLOGIES, TRAINING } from '@troupe/config';
import { MODEL_FORMS, type ModelForm } from '@troupe/export';
import { LIMITS } from '@troupe/protocol';
import {
  MAX_PRIME_CHARACTERS,
  POINT_FIELDS,
  type Ban,
  type BansView,
  type CreditsView,
  type EvaluationPoint,
  type GradientFlow,
  type LoggedEvent,
  type NameCredit,
  type NetworkView,
  type PastRun,
  type RunFacts,
  type SamplePoint,
  type TeamCredit,
  type WorkerView,
} from '@troupe/run';
import { PLAY } from './playground.js';

type Schema = Readonly<Record<string, unknown>>;

const { learningRate: RATE, clip: CLIP } = TRAINING.fields;

const text: Schema = { type: 'string' };
const count: Schema = { type: 'integer', minimum: 0 };
const number: Schema = { type: 'number' };
const positive: Schema = { type: 'number', minimum: 0 };
const list = (items: Schema): Schema => ({ type: 'array', items });
const oneOf = (...values: readonly string[]): Schema => ({ type: 'string', enum: values });
/** Of a field with bounds and maybe a default. */
const range = ({ min, max, ...rest }: { min: number; max: number; default?: number }): Schema => ({
  minimum: min,
  maximum: max,
  ...rest,
});
const ref = (name: string): Schema => ({ $ref: `#/components/schemas/${name}` });

/** The compiler checks that `fields` are all fields of `T`. `optional`: those that may be absent. */
function object<T>(fields: { readonly [K in keyof T]-?: Schema }, optional: readonly (keyof T)[] = []): Schema {
  const required = Object.keys(fields).filter((key) => !optional.includes(key as keyof T));
  return { type: 'object', properties: fields, required, additionalProperties: false };
}

const EvaluationPointSchema = object<EvaluationPoint>({ round: count, validationLoss: number, averageLoss: number }, [
  'averageLoss',
]);
const SamplePointSchema = object<SamplePoint>(
  { round: count, text, bestRound: { ...count, description: 'The best model wrote it, that of this round.' } },
  ['bestRound'],
);
const GradientFlowSchema = object<GradientFlow>({ round: count, layers: list(list(positive)), state: oneOf('h', 'hc') }, [
  'state',
]);
const RoundPointSchema: Schema = {
  type: 'object',
  properties: Object.fromEntries(POINT_FIELDS.map((field) => [field, number])),
  required: POINT_FIELDS,
  additionalProperties: false,
};
const PointColumnsSchema: Schema = {
  type: 'object',
  description: 'Points by column. All columns have the same length; rounds ascend.',
  properties: Object.fromEntries(POINT_FIELDS.map((field) => [field, list(number)])),
  required: POINT_FIELDS,
  additionalProperties: false,
};

const WorkerSchema = object<WorkerView>(
  {
    id: text,
    name: { ...text, description: 'Chosen by its owner. Treat it as text, never as markup.' },
    kind: oneOf('node', 'browser'),
    engine: text,
    device: text,
    charsPerSecond: positive,
    streams: count,
    latencyMs: positive,
    rounds: count,
    characters: count,
    lastSeenMs: number,
    state: oneOf('joining', 'syncing', 'ready', 'computing', 'late', 'paused', 'parked', 'left'),
    reason: text,
    peer: {
      type: 'object',
      description:
        'Of a worker that offers to sum for the others: whether it does, and how many of the workers that receive updates have a link to it. It counts as one of both.',
      properties: { sums: { type: 'boolean' }, reachedBy: count, workers: count },
      required: ['sums', 'reachedBy', 'workers'],
      additionalProperties: false,
    },
    audits: {
      type: 'object',
      description:
        'Of a volunteer: how many of its leases the coordinator computed again and found right. On probation nothing of it counts before it is audited.',
      properties: { passed: count, onProbation: { type: 'boolean' } },
      required: ['passed', 'onProbation'],
      additionalProperties: false,
    },
  },
  ['device', 'latencyMs', 'peer', 'audits'],
);

const RunSchema = object<RunFacts>(
  {
    runId: text,
    name: text,
    organizer: text,
    phase: oneOf('starting', 'running', 'paused', 'waiting', 'over'),
    phaseReason: text,
    pausedBy: list(text),
    round: { ...count, description: 'Rounds completed.' },
    rounds: count,
    progress: { ...number, description: 'The part of the next round that is computed, 0 to 1; in a run of local rounds only.' },
    startedAt: { ...number, description: 'Milliseconds since 1970.' },
    etaMs: positive,
    config: { type: 'object', description: 'The training config, as in PROTOCOL.md.' },
    model: text,
    parameters: count,
    corpus: {
      type: 'object',
      properties: { name: text, characters: count, train: count, validation: count },
      required: ['name', 'characters', 'train', 'validation'],
    },
    latest: ref('RoundPoint'),
    best: ref('EvaluationPoint'),
    validated: ref('EvaluationPoint'),
    workers: list(ref('Worker')),
    workerCount: count,
    maxWorkers: count,
    access: list(oneOf('read', 'admin')),
    joinLink: { ...text, description: 'For holders of the admin token of the run only.' },
    inviteCommand: { ...text, description: 'For holders of a signed admin token, in place of joinLink.' },
    checkpoint: { type: 'object', properties: { round: count, path: text }, required: ['round', 'path'] },
    lossHistory: list({ type: 'array', prefixItems: [count, number], minItems: 2, maxItems: 2 }),
    validation: list({ type: 'array', prefixItems: [count, number], minItems: 2, maxItems: 2 }),
    sample: ref('SamplePoint'),
    codec: oneOf(...GRADIENT_CODECS),
    streams: count,
    window: count,
  },
  ['organizer', 'progress', 'etaMs', 'latest', 'best', 'validated', 'joinLink', 'inviteCommand', 'checkpoint', 'sample'],
);

const NetworkSchema = object<NetworkView>(
  {
    protocolVersion: { ...count, description: 'Workers must speak the same version.' },
    topology: oneOf(...TOPOLOGIES),
    reduceAddress: { ...text, description: 'A path is at the host by which the client reaches the coordinator.' },
    iceServers: {
      type: 'array',
      description:
        'STUN servers, and TURN servers with credentials that expire within minutes. Absent: a separate all-reduce service has them.',
      items: {
        type: 'object',
        properties: { urls: list(text), username: text, credential: text },
        required: ['urls', 'username', 'credential'],
        additionalProperties: false,
      },
    },
  },
  ['iceServers'],
);

const NameCreditSchema = object<NameCredit>({
  name: { ...text, description: 'As its owner typed it; nobody checks it. Treat it as text, never as markup.' },
  team: { ...text, description: 'Empty: none.' },
  characters: count,
});
const TeamCreditSchema = object<TeamCredit>({ team: text, names: count, characters: count });
const CreditsSchema = object<CreditsView>({
  characters: { ...count, description: 'Characters that counted, of all workers.' },
  anonymous: { ...count, description: 'Those of workers that are not named.' },
  named: { ...count, description: 'How many names there are.' },
  names: { ...list(ref('NameCredit')), description: `At most ${LIMITS.creditsShown}, the largest first.` },
  teams: { ...list(ref('TeamCredit')), description: `At most ${LIMITS.creditsShown}, the largest first.` },
});

const BanSchema = object<Ban>(
  {
    id: text,
    at: number,
    by: oneOf('admin', 'audit'),
    address: text,
    name: text,
    tokenId: { ...text, description: 'Of the signed token that the worker showed.' },
    refused: { type: 'boolean', description: 'Its name is refused at its address.' },
    held: { type: 'boolean', description: 'Nothing that comes from its address counts before it is audited.' },
    reason: { ...text, description: 'After an audit: what the worker claimed, and what came out.' },
  },
  ['tokenId'],
);
const BansSchema = object<BansView>({ bans: list(ref('Ban')) });

const EventSchema = object<LoggedEvent>(
  {
    id: count,
    at: number,
    round: count,
    kind: oneOf('worker', 'decision', 'control', 'checkpoint', 'waiting', 'note'),
    level: oneOf('info', 'warn'),
    text,
    remedy: text,
  },
  ['remedy'],
);

const PastRunSchema = object<PastRun>(
  {
    folder: text,
    runId: text,
    name: text,
    model: text,
    config: { type: 'object' },
    corpus: text,
    parameters: count,
    startedAt: number,
    round: count,
    rounds: count,
    best: ref('EvaluationPoint'),
    losses: {
      type: 'object',
      properties: { round: list(count), smoothedLoss: list(number), gradientNorm: list(number) },
      required: ['round', 'smoothedLoss', 'gradientNorm'],
    },
    evaluations: list(ref('EvaluationPoint')),
    flow: ref('GradientFlow'),
    current: { type: 'boolean' },
  },
  ['best', 'flow'],
);

const ControlRequestSchema: Schema = {
  oneOf: [
    {
      type: 'object',
      properties: { action: oneOf('pause', 'resume', 'checkpoint', 'stop') },
      required: ['action'],
      additionalProperties: false,
    },
    {
      type: 'object',
      description:
        'kick: the worker stops; it may be started again. ban: workers of the same name and address are also refused, until the ban is ' +
        'lifted.',
      properties: { action: oneOf('kick', 'ban'), workerId: text, reason: text },
      required: ['action', 'workerId'],
      additionalProperties: false,
    },
    {
      type: 'object',
      description: 'Lifts a ban, for workers that join from now on.',
      properties: { action: oneOf('unban'), ban: { ...text, description: 'Its id in /api/bans.' } },
      required: ['action', 'ban'],
      additionalProperties: false,
    },
    {
      type: 'object',
      description:
        'Takes effect in the next round and is saved in checkpoints. learningRate is the peak, which the schedule scales; clip 0 turns ' +
        'clipping off. Refused (409) in a reproducible run.',
      properties: {
        action: oneOf('set'),
        learningRate: { ...number, exclusiveMinimum: 0, maximum: RATE.max },
        clip: { ...number, minimum: CLIP.min, maximum: CLIP.max },
      },
      required: ['action'],
      additionalProperties: false,
    },
    {
      type: 'object',
      description:
        'Takes the run back to the checkpoint of a round, by default the newest one that was saved before the loss rose above its limit. ' +
        'Later checkpoints and the history up to now are kept in the folder left-at-round-N of the run. A finished or diverged run ' +
        'goes on from there, as long as its coordinator serves. learningRate is the new peak, refused (409) in a reproducible run.',
      properties: {
        action: oneOf('back'),
        round: count,
        learningRate: { ...number, exclusiveMinimum: 0, maximum: RATE.max },
      },
      required: ['action'],
      additionalProperties: false,
    },
  ],
};

const PlayRequestSchema: Schema = {
  type: 'object',
  properties: {
    prime: { ...text, maxLength: MAX_PRIME_CHARACTERS, default: '' },
    skipUnknown: {
      type: 'boolean',
      default: false,
      description: 'Leave out characters of the prime that the model does not know.',
    },
    temperature: { ...number, ...range(PLAY.temperature) },
    topK: { type: 'integer', ...range(PLAY.topK), description: '0 = sample among all characters.' },
    length: { type: 'integer', ...range(PLAY.length) },
    seed: { type: 'integer', ...range(PLAY.seed) },
  },
  additionalProperties: false,
};

const query = (name: string, description: string): Schema => ({ name, in: 'query', description, schema: count });
const jsonContent = (schema: Schema): Schema => ({ 'application/json': { schema } });
const anyone: Schema = { security: [] };
const worker: Schema = { security: [{ workerToken: [] }, { adminToken: [] }] };
const join: Schema = { security: [{ workerToken: [] }, { adminToken: [] }] };
const metrics: Schema = { security: [{ metricsToken: [] }, { adminToken: [] }] };
const admin: Schema = { security: [{ adminToken: [] }] };
const failure: Schema = { description: 'What went wrong, and what to do.', content: jsonContent(ref('Error')) };

function operation(summary: string, content: Schema, rest: Schema = {}, description = 'The response.'): Schema {
  return { summary, responses: { '200': { description, content }, '4XX': failure, '5XX': failure }, ...rest };
}

const takes = (schema: Schema): Schema => ({ requestBody: { required: true, content: jsonContent(schema) } });

/** What a download is, its media type, and who may have it. */
const MODELS: Readonly<Record<ModelForm, readonly [what: string, type: string, access: Schema]>> = {
  web: ['one HTML file that writes text in any browser', 'text/html', worker],
  pytorch: ['a folder for PyTorch, as a gzipped tar', 'application/gzip', {}],
  onnx: ['a folder for ONNX Runtime, as a gzipped tar', 'application/gzip', {}],
  tfjs: ['a folder for TensorFlow.js, as a gzipped tar', 'application/gzip', {}],
  weights: ['a safetensors file without optimizer and hidden states', 'application/octet-stream', {}],
};

function modelOperation(form: ModelForm): Schema {
  const [what, type, access] = MODELS[form];
  return operation(
    `The best model, or else the newest, as ${what}`,
    { [type]: { schema: { type: 'string', format: 'binary' } } },
    access,
  );
}

export const openapi = {
  openapi: '3.1.0',
  info: {
    title: 'Troupe coordinator',
    version: '1',
    description:
      'Watch a training run and control it. Losses are in nats per character, durations in milliseconds, points in time in milliseconds ' +
      'since 1970. Send a token as authorization: Bearer TOKEN. A signed token replaces those below as far as its scope allows; ' +
      'docs/access.md describes them. With --public, everyone may read what needs the admin token to read otherwise, without addresses of ' +
      'machines. The live link is a WebSocket at /live; docs/api.md describes it.',
  },
  security: [{ adminToken: [] }],
  paths: {
    '/healthz': {
      get: operation(
        'Whether the coordinator is alive',
        jsonContent({
          type: 'object',
          properties: { status: oneOf('ok'), phase: text, round: count },
          required: ['status', 'phase', 'round'],
          additionalProperties: false,
        }),
        anyone,
      ),
    },
    '/metrics': { get: operation('Metrics for Prometheus', { 'text/plain': { schema: text } }, metrics) },
    '/api/openapi.json': { get: operation('This document', jsonContent({ type: 'object' }), anyone) },
    '/api/run': { get: operation('The current state of the run', jsonContent(ref('Run')), worker) },
    '/api/credits': {
      get: operation(
        'Who computed what: names and teams of workers that want to be named, and the sum of all others',
        jsonContent(ref('Credits')),
        worker,
      ),
    },
    '/api/network': {
      get: operation(
        'What a machine needs to find out whether it could join: with --public too, it takes a token',
        jsonContent(ref('Network')),
        join,
      ),
    },
    '/api/history': {
      get: operation(
        'Rounds `from` to `to`. If they are more than `points`, the ones with the lowest and highest values, so that spikes remain',
        jsonContent({
          type: 'object',
          properties: {
            points: ref('PointColumns'),
            evaluations: list(ref('EvaluationPoint')),
            firstRound: count,
            lastRound: count,
            thinned: { type: 'boolean' },
          },
          required: ['points', 'evaluations', 'firstRound', 'lastRound', 'thinned'],
          additionalProperties: false,
        }),
        {
          parameters: [
            query('from', 'First round. Default 0.'),
            query('to', 'Last round. Default: the newest.'),
            query(
              'points',
              `Maximum number of rounds, 8 to ${LIMITS.historyPoints}. Default ${LIMITS.viewerHistoryPoints}, which is also the maximum without the admin token.`,
            ),
          ],
        },
      ),
    },
    '/api/samples': {
      get: operation(
        'Samples of what the model writes, oldest first',
        jsonContent({
          type: 'object',
          properties: { samples: list(ref('SamplePoint')) },
          required: ['samples'],
          additionalProperties: false,
        }),
      ),
    },
    '/api/events': {
      get: operation(
        'The event log, oldest first',
        jsonContent({
          type: 'object',
          properties: { events: list(ref('Event')), last: count },
          required: ['events', 'last'],
          additionalProperties: false,
        }),
        { parameters: [query('after', 'Only events with a greater id. Default 0.')] },
      ),
    },
    '/api/flow': {
      get: operation(
        'Gradient flow: how far back in time gradients reach, oldest first',
        jsonContent({
          type: 'object',
          properties: { flows: list(ref('GradientFlow')) },
          required: ['flows'],
          additionalProperties: false,
        }),
      ),
    },
    '/api/runs': {
      get: operation(
        'The runs of the same folder, newest first; without the admin token only this run',
        jsonContent({
          type: 'object',
          properties: { runs: list(ref('PastRun')) },
          required: ['runs'],
          additionalProperties: false,
        }),
      ),
    },
    ...Object.fromEntries(MODEL_FORMS.map((form) => [`/api/model/${form}`, { get: modelOperation(form) }])),
    '/api/bans': { get: operation('Who is banned, and why; oldest first', jsonContent(ref('Bans')), admin) },
    '/api/checkpoint': {
      get: operation(
        'The newest checkpoint, a safetensors file',
        {
          'application/octet-stream': { schema: { type: 'string', format: 'binary' } },
        },
        admin,
      ),
    },
    '/api/control': {
      post: operation(
        'Control the run',
        jsonContent({
          type: 'object',
          properties: { ok: { const: true }, text, path: text },
          required: ['ok', 'text'],
          additionalProperties: false,
        }),
        { ...admin, ...takes(ref('ControlRequest')) },
      ),
    },
    '/api/sample': {
      post: operation(
        'Write text with the current model',
        { 'text/event-stream': { schema: text } },
        takes(ref('PlayRequest')),
        'Server-sent events. The data of each is a JSON object: {type: start, round, seed}, then {type: text, text} as the text is ' +
          'written, and at last {type: end} or {type: error, code, message, remedy}.',
      ),
    },
  },
  components: {
    securitySchemes: {
      adminToken: { type: 'http', scheme: 'bearer', description: 'Reads everything and controls the run.' },
      metricsToken: { type: 'http', scheme: 'bearer', description: 'Reads /metrics.' },
      workerToken: { type: 'http', scheme: 'bearer', description: 'Lets a worker join and see the run.' },
    },
    schemas: {
      Run: RunSchema,
      Worker: WorkerSchema,
      Network: NetworkSchema,
      Credits: CreditsSchema,
      NameCredit: NameCreditSchema,
      TeamCredit: TeamCreditSchema,
      RoundPoint: RoundPointSchema,
      PointColumns: PointColumnsSchema,
      EvaluationPoint: EvaluationPointSchema,
      SamplePoint: SamplePointSchema,
      GradientFlow: GradientFlowSchema,
      Ban: BanSchema,
      Bans: BansSchema,
      Event: EventSchema,
      PastRun: PastRunSchema,
      ControlRequest: ControlRequestSchema,
      PlayRequest: PlayRequestSchema,
      Error: {
        type: 'object',
        properties: { code: text, message: text, remedy: text },
        required: ['code', 'message', 'remedy'],
        additionalProperties: false,
      },
    },
  },
};

/** The description of an API that is mounted at a prefix. */
export function openapiAt(prefix: string): object {
  return prefix === '' ? openapi : { ...openapi, servers: [{ url: prefix }] };
}
