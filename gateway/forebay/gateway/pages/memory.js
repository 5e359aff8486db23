const PREFIX = "forebay:";

// Private windows and blocked third-party storage throw; the page then lives as long as it is not reloaded.
const fallback = new Map();

export function remember(name, value) {
  const text = JSON.stringify(value);
  fallback.set(name, text);
  try {
    sessionStorage.setItem(PREFIX + name, text);
    return true;
  } catch {
    return false;
  }
}

export function recall(name) {
  try {
    const text = sessionStorage.getItem(PREFIX + name) ?? fallback.get(name);
    return text == null ? null : JSON.parse(text);
  } catch {
    const text = fallback.get(name);
    return text == null ? null : JSON.parse(text);
  }
}

export function forget(name) {
  fallback.delete(name);
  try {
    sessionStorage.removeItem(PREFIX + name);
  } catch {
    // Nothing was kept there.
  }
}
