import { defineConfig } from 'vitest/config';

export default defineConfig({
  // Under Bazel every file is a link into the execution root: without this, imports would leave the declared inputs.
  resolve: { preserveSymlinks: true },
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'threads',
    // A bound for what hangs, not a measure of speed.
    testTimeout: 240_000,
    hookTimeout: 240_000,
    watch: false,
    passWithNoTests: false,
  },
});
