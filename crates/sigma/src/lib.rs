//! The online placement engine: filter, score, explain. Pure: it proposes, it cannot bind.
