'use strict';

/** A promise, and the same for a callback `(error, value)`. */
function settle(promise, callback) {
  if (!callback) return promise;
  promise.then(
    (value) => callback(null, value),
    (error) => callback(error),
  );
  return undefined;
}

module.exports = { settle };
