// Lint rules and, with them, the direction of dependencies: each project's package.json carries a layer tag and a runtime tag,
// and the constraints below say what may import what. tests/architecture feeds this config violations and expects errors.
import eslint from '@eslint/js';
import nx from '@nx/eslint-plugin';
import imports from 'eslint-plugin-import';
import tseslint from 'typescript-eslint';

const EVERY_LAYER = [
  'base',
  'leaf',
  'model',
  'engine',
  'engines',
  'checkpoint',
  'export',
  'scheduler',
  'run',
  'collective',
  'worker',
  'conductor',
];

/** A layer may import these layers and nothing else. Apps never import each other: the CLI starts them as processes. */
const LAYERS = {
  base: [],
  leaf: ['base'],
  model: ['base', 'leaf'],
  engine: ['base', 'leaf', 'model'],
  engines: ['base', 'leaf', 'model', 'engine'],
  checkpoint: ['base', 'leaf', 'model'],
  export: ['base', 'leaf', 'model', 'checkpoint'],
  scheduler: ['base', 'leaf'],
  run: ['base', 'leaf', 'scheduler'],
  collective: ['base', 'leaf'],
  worker: ['base', 'leaf', 'model', 'collective'],
  conductor: ['base', 'leaf', 'model', 'checkpoint', 'scheduler', 'run', 'collective'],
  app: EVERY_LAYER,
  tests: EVERY_LAYER,
};

const layerConstraints = Object.entries(LAYERS).map(([layer, allowed]) => ({
  sourceTag: `layer:${layer}`,
  onlyDependOnLibsWithTags: allowed.map((name) => `layer:${name}`),
}));

/** Portable code runs in browsers too and must not reach what runs in Node only. */
const runtimeConstraints = [
  { sourceTag: 'runtime:portable', onlyDependOnLibsWithTags: ['runtime:portable'] },
  { sourceTag: 'runtime:browser', onlyDependOnLibsWithTags: ['runtime:portable'] },
  { sourceTag: 'runtime:node', onlyDependOnLibsWithTags: ['runtime:portable', 'runtime:node'] },
];

export default tseslint.config(
  { ignores: ['**/dist/**', '**/generated/**', '**/node_modules/**', '.nx/**', 'libs/*/assembly/**', 'runs/**', 'types/**'] },
  eslint.configs.recommended,
  ...tseslint.configs.recommendedTypeChecked,
  {
    plugins: { '@nx': nx, import: imports },
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    settings: {
      'import/extensions': ['.ts'],
      'import/parsers': { '@typescript-eslint/parser': ['.ts'] },
      'import/resolver': { [new URL('./scripts/relative-resolver.cjs', import.meta.url).pathname]: {} },
    },
    rules: {
      '@nx/enforce-module-boundaries': [
        'error',
        { allow: [], depConstraints: [...layerConstraints, ...runtimeConstraints], enforceBuildableLibDependency: false },
      ],
      // The shortcut by strongly connected components does not work with a resolver that maps .js to .ts.
      // The rule does not follow `import type`; tests/architecture/cycles.test.ts counts types too.
      'import/no-cycle': ['error', { disableScc: true }],
      // An async method of a port turns what it throws into a rejection; it need not await.
      '@typescript-eslint/require-await': 'off',
      // Ports are objects of closures, whose methods may be passed on alone; the rule takes every method signature for one that needs `this`.
      '@typescript-eslint/unbound-method': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/only-throw-error': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/consistent-type-imports': 'error',
      eqeqeq: 'error',
      'no-restricted-syntax': [
        'error',
        {
          selector: "CallExpression[callee.object.name='process'][callee.property.name='exit']",
          message: 'Set process.exitCode and let the process end: output is lost otherwise.',
        },
      ],
    },
  },
  {
    // Portable code runs in browsers and simulations too: no Node, no clock, no randomness of its own.
    files: ['libs/*/src/**/*.ts'],
    ignores: [
      'libs/*/src/node/**',
      'libs/native/src/**',
      'libs/access/src/**',
      'libs/process/src/**',
      'libs/transport/src/websocket/**',
      'libs/transport/src/webrtc-node/**',
      'libs/transport/src/discovery/**',
      'libs/transport/src/browser/**',
    ],
    rules: {
      'no-restricted-globals': ['error', 'Date', 'performance', 'setTimeout', 'setInterval', 'process', 'Buffer', 'crypto'],
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              group: [
                'node:*',
                'ws',
                '@troupe/*/node',
                '@troupe/transport/websocket',
                '@troupe/transport/webrtc-node',
                '@troupe/transport/discovery',
              ],
              message: 'Portable libraries run in browsers too: take what Node offers as a parameter.',
            },
            {
              group: ['@troupe/collective/*'],
              message: 'Take a Collective as a parameter: only apps and tests choose how gradients are reduced.',
            },
          ],
        },
      ],
      'no-restricted-properties': [
        'error',
        { object: 'Math', property: 'random', message: 'Take the random source as a parameter.' },
      ],
    },
  },
  {
    files: ['**/test/**/*.ts', 'tests/**/*.ts', 'vitest.config.ts'],
    languageOptions: { parserOptions: { projectService: false, project: ['./tsconfig.tests.json'] } },
    rules: {
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
    },
  },
  // Stand-ins of the apps end in the very ways that apps may.
  { files: ['apps/cli/test/fixtures/*.mjs'], rules: { 'no-restricted-syntax': 'off' } },
  { files: ['**/*.cjs'], rules: { '@typescript-eslint/no-require-imports': 'off' } },
  {
    files: ['**/*.mjs', '**/*.cjs'],
    ...tseslint.configs.disableTypeChecked,
    languageOptions: {
      parserOptions: { projectService: false },
      globals: Object.fromEntries(
        [
          'process',
          'console',
          'require',
          'exports',
          'performance',
          'URL',
          'AbortController',
          'setTimeout',
          'clearTimeout',
          'setInterval',
          'clearInterval',
        ].map((name) => [name, 'readonly']),
      ),
    },
  },
);
