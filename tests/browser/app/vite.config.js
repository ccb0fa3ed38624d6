export default {
  // Vite bundles dependencies before it serves them, and would lose the WebAssembly module beside this one.
  optimizeDeps: { exclude: ['atoll-web'] },
};
