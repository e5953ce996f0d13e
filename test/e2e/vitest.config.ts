import { defineConfig } from 'vitest/config';

// These tests run Bazel itself, so they cannot run inside it: .ci/run calls them after the build.
export default defineConfig({
  test: {
    include: ['test/e2e/*.e2e.ts'],
    globalSetup: ['test/e2e/second-workspace.ts'],
    // One Bazel server, one workspace: one test after the other.
    fileParallelism: false,
    maxConcurrency: 1,
    testTimeout: 900_000,
    hookTimeout: 900_000,
    reporters: ['verbose', ['json', { outputFile: 'bazel-e2e-results.json' }]],
  },
});
