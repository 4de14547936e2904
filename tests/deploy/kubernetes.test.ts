/**
 * The Kubernetes manifests, without a cluster: the compiler compares them with the types of the API, `kubectl` renders the kustomizations,
 * and the tests follow what names what.
 */
import path from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { root } from '../e2e/troupe.js';
import { hasKubectl, read, rendered, version, written, type Manifest } from './files.js';

/** Where kubernetes-types, which is made from the API's own description, has the types of a version. */
const MODULES: Readonly<Record<string, string>> = {
  v1: 'core/v1',
  'apps/v1': 'apps/v1',
  'policy/v1': 'policy/v1',
  'networking.k8s.io/v1': 'networking/v1',
};

/** Objects by the place that they come from. */
type Sources = Readonly<Record<string, readonly Manifest[]>>;

/** What is wrong with objects by the types of the API: unknown and missing fields, and values of another type. One line each. */
function typeErrors(sources: Sources): string[] {
  const name = path.join(root, 'tests/deploy/manifests-as-code.ts');
  const code = Object.entries(sources)
    .flatMap(([source, manifests]) =>
      manifests.map((manifest) => [`${source} ${manifest.kind} ${manifest.metadata.name}`, manifest] as const),
    )
    .map(([title, manifest]) => {
      const module = `kubernetes-types/${MODULES[manifest.apiVersion] ?? manifest.apiVersion}`;
      return `export const _${title.replaceAll(/\W/g, '_')}: import('${module}').${manifest.kind} = ${JSON.stringify(manifest)};`;
    })
    .join('\n');
  const program = ts.createProgram([name], OPTIONS, hostWith(name, code));
  return ts.getPreEmitDiagnostics(program).map(({ messageText, start = 0 }) => {
    const [, title = ''] = /const _(\w+):/.exec(code.slice(0, start).split('\n').at(-1)!) ?? [];
    return `${title}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
  });
}

const OPTIONS: ts.CompilerOptions = {
  strict: true,
  noEmit: true,
  types: [],
  skipLibCheck: true,
  lib: ['lib.es5.d.ts'],
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
};

/** The files of this clone, and one more. */
function hostWith(name: string, code: string): ts.CompilerHost {
  const host = ts.createCompilerHost(OPTIONS);
  const { getSourceFile, fileExists } = host;
  host.fileExists = (file) => file === name || fileExists(file);
  host.getSourceFile = (file, ...more) =>
    file === name ? ts.createSourceFile(file, code, ts.ScriptTarget.ES2022) : getSourceFile(file, ...more);
  return host;
}

const base = hasKubectl ? rendered('base') : written();
const find = (manifests: readonly Manifest[], kind: string, name: string): Manifest =>
  manifests.find((one) => one.kind === kind && one.metadata.name.startsWith(name))!;
const pods = (manifests: readonly Manifest[]) => [
  find(manifests, 'StatefulSet', 'troupe-coordinator').spec.template,
  find(manifests, 'Deployment', 'troupe-worker').spec.template,
];

describe('the Kubernetes manifests', () => {
  it('have the fields and types of the API, as they are written and as the kustomizations render them', () => {
    const wrong = structuredClone(written()).filter(({ kind }) => kind === 'StatefulSet');
    Object.assign(wrong[0].spec.template.spec.containers[0], { readinesProbe: {} });
    const sources: Sources = hasKubectl ? { written: written(), base, gpu: rendered('gpu'), wrong } : { written: base, wrong };
    const errors = typeErrors(sources);
    expect(errors.filter((error) => !error.startsWith('wrong'))).toEqual([]);
    expect(errors.join()).toMatch(/"readinesProbe"' does not exist/);
  }, 120_000);

  it('include a coordinator with a volume, a service, workers that start at zero, budgets and network policies', () => {
    const kinds = base.map(({ kind }) => kind).filter((kind) => kind !== 'ConfigMap');
    expect(new Set(kinds)).toEqual(
      new Set(['Namespace', 'Service', 'StatefulSet', 'PodDisruptionBudget', 'Deployment', 'NetworkPolicy']),
    );
    expect(find(base, 'Deployment', 'troupe-worker').spec.replicas).toBe(0);
    const coordinator = find(base, 'StatefulSet', 'troupe-coordinator').spec;
    expect(coordinator).toMatchObject({ replicas: 1, volumeClaimTemplates: [{ metadata: { name: 'data' } }] });
    expect(coordinator.template.spec.containers[0].volumeMounts).toContainEqual({ name: 'data', mountPath: '/data' });
  });

  it('select the pods that they mean, by labels that these have', () => {
    const labels = pods(base).map(({ metadata }) => metadata.labels as Record<string, string>);
    const selectors = base.flatMap(({ kind, spec }) => {
      if (kind === 'Service') return [spec.selector];
      if (kind === 'NetworkPolicy') return [spec.podSelector.matchLabels ?? {}];
      return spec?.selector?.matchLabels ? [spec.selector.matchLabels] : [];
    }) as Record<string, string>[];
    expect(selectors.length).toBeGreaterThan(6);
    for (const selector of selectors) {
      const matches = labels.some((own) => Object.entries(selector).every(([label, value]) => own[label] === value));
      expect({ selector, matches }).toEqual({ selector, matches: true });
    }
  });

  it('name ports that the containers have: 7070 of the coordinator and 7080 between workers', () => {
    const ports = pods(base).flatMap(({ spec }) => spec.containers[0].ports as { name: string; containerPort: number }[]);
    expect(ports).toEqual([
      { name: 'http', containerPort: 7070 },
      { name: 'peers', containerPort: 7080 },
    ]);
    const named = JSON.stringify(base).matchAll(/"(?:port|targetPort)":"(\w+)"/g);
    for (const [, name] of named) expect(ports.map((port) => port.name)).toContain(name);
    expect(read('kubernetes/base/kustomization.yaml')).toMatch(/TROUPE_COORDINATOR=ws:\/\/troupe-coordinator:7070/);
    expect(read('kubernetes/base/kustomization.yaml')).toMatch(/--listen 7080/);
    expect(find(base, 'Service', 'troupe-coordinator').spec.ports).toMatchObject([{ port: 7070, targetPort: 'http' }]);
  });

  it('take every token from a Secret', () => {
    const variables = pods(base).map(({ spec }) => spec.containers[0].env as { name: string; valueFrom: object }[]);
    expect(variables.map((each) => each.map(({ name }) => name))).toEqual([
      ['TROUPE_TOKEN', 'TROUPE_ADMIN_TOKEN', 'TROUPE_METRICS_TOKEN'],
      ['TROUPE_TOKEN'],
    ]);
    for (const variable of variables.flat())
      expect(variable).toEqual({
        name: variable.name,
        valueFrom: { secretKeyRef: { name: 'troupe-tokens', key: expect.any(String) } },
      });
    expect(base.map(({ kind }) => kind)).not.toContain('Secret');
  });

  it('run as the user of the image, without privileges, on a file system that they cannot change', () => {
    const [, user] = /^USER (\d+)/m.exec(read('docker/Dockerfile'))!;
    for (const { spec } of pods(base)) {
      expect(spec).toMatchObject({ automountServiceAccountToken: false });
      expect(spec.securityContext).toMatchObject({
        runAsNonRoot: true,
        runAsUser: Number(user),
        seccompProfile: { type: 'RuntimeDefault' },
      });
      for (const { securityContext } of spec.containers) {
        expect(securityContext).toEqual({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        });
      }
    }
  });

  it('limit the memory of every container, and give workers a thread per core', () => {
    for (const { spec } of pods(base))
      expect(spec.containers[0].resources).toMatchObject({
        requests: { cpu: expect.any(String) },
        limits: { memory: expect.any(String) },
      });
    const [, threads] = /--threads (\d+)/.exec(read('kubernetes/base/kustomization.yaml'))!;
    expect(pods(base)[1].spec.containers[0].resources).toMatchObject({ requests: { cpu: threads }, limits: { cpu: threads } });
  });

  it('ask the coordinator for its health, and allow it the time to save', () => {
    const [{ spec }] = pods(base);
    for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe'])
      expect(spec.containers[0][probe].httpGet).toEqual({ path: '/healthz', port: 'http' });
    expect(spec.terminationGracePeriodSeconds).toBe(120);
  });
});

describe.skipIf(!hasKubectl)('the kustomizations (needs kubectl 1.27 or later)', () => {
  it('use the image of this version', () => {
    for (const { spec } of pods(base)) expect(spec.containers[0].image).toBe(`troupe:${version}`);
  });

  it('put all objects into the namespace, and refer to the settings by the name that follows from their content', () => {
    const settings = find(base, 'ConfigMap', 'troupe-settings').metadata.name;
    expect(settings).toMatch(/^troupe-settings-\w+$/);
    for (const { spec } of pods(base)) expect(spec.containers[0].envFrom).toEqual([{ configMapRef: { name: settings } }]);
    for (const { kind, metadata } of base) if (kind !== 'Namespace') expect(metadata).toMatchObject({ namespace: 'troupe' });
  });

  it('place the workers of the overlay gpu on nodes with a GPU, one for each, and leave the coordinator as it is', () => {
    const gpu = rendered('gpu');
    const [coordinator, worker] = pods(gpu);
    expect(worker.spec).toMatchObject({
      nodeSelector: { 'nvidia.com/gpu.present': 'true' },
      containers: [{ image: `troupe:${version}-gpu`, resources: { limits: { 'nvidia.com/gpu': '1' } } }],
    });
    expect(find(gpu, 'ConfigMap', 'troupe-settings').data!.TROUPE_WORKER_FLAGS).toMatch(/--engine webgpu/);
    expect(coordinator.spec.nodeSelector).toBeUndefined();
  });
});
