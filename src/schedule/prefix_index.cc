#include "schedule/prefix_index.h"

#include <algorithm>

namespace llm_tp {

PrefixIndex::PrefixIndex(std::int32_t page_tokens, std::vector<std::int32_t> lookbacks)
    : page_tokens_(static_cast<std::size_t>(page_tokens)),
      lookbacks_(lookbacks.begin(), lookbacks.end()),
      root_(std::make_unique<Node>()),
      may_go_(lookbacks.size()) {
  root_->pages.assign(lookbacks.size(), kNoPage);
}

PrefixIndex::~PrefixIndex() {
  // A long prompt is a deep tree: it is taken down from its leaves, not by recursion.
  for (std::size_t cache = 0; cache < may_go_.size(); ++cache)
    while (!evict(cache, [](const CachePage&) { return true; }).empty()) {
    }
}

std::vector<PageId> PrefixIndex::pages(std::size_t cache) const {
  std::vector<PageId> all;
  std::vector<const Node*> open{root_.get()};
  while (!open.empty()) {
    const Node* const node = open.back();
    open.pop_back();
    if (node->pages[cache] != kNoPage) all.push_back(node->pages[cache]);
    for (const auto& [tokens, child] : node->children) open.push_back(child.get());
  }
  return all;
}

std::vector<TokenId> PrefixIndex::edge(std::span<const TokenId> tokens, std::size_t page,
                                       AdapterId adapter) const {
  const auto run = tokens.subspan(page * page_tokens_, page_tokens_);
  std::vector<TokenId> edge(run.begin(), run.end());
  // One more than a page has: the first edge of an adapter's tree is like none of another.
  if (page == 0 && adapter != kNoAdapter) edge.push_back(adapter);
  return edge;
}

bool PrefixIndex::may_go(const Node& node, std::size_t cache) const {
  return node.pages[cache] != kNoPage && (!needs_all(cache) || node.children.empty());
}

void PrefixIndex::unfile(Node& node) {
  for (auto& of_cache : may_go_) of_cache.erase({node.used, &node});
}

void PrefixIndex::file(Node& node) {
  unfile(node);
  for (std::size_t cache = 0; cache < may_go_.size(); ++cache)
    if (may_go(node, cache)) may_go_[cache].emplace(node.used, &node);
}

/// Every use has a time of its own, so a node is found by it.
void PrefixIndex::touch(Node& node) {
  unfile(node);
  node.used = ++now_;
  file(node);
}

PrefixIndex::Found PrefixIndex::find(std::span<const TokenId> tokens, std::size_t most, AdapterId adapter) {
  const std::size_t caches = lookbacks_.size();
  std::vector<std::vector<PageId>> pages(caches);
  std::vector<std::size_t> known_from(caches);  // pages [known_from, now) are known without a gap
  Found found{0, std::vector<PageRun>(caches)};
  const auto needed_from = [&](std::size_t cache, std::size_t length) {
    const std::size_t end = length * page_tokens_;
    return !needs_all(cache) && end > lookbacks_[cache] ? (end - lookbacks_[cache]) / page_tokens_ : 0;
  };
  Node* node = root_.get();
  for (std::size_t page = 0; page < std::min(most, tokens.size() / page_tokens_); ++page) {
    const auto child = node->children.find(edge(tokens, page, adapter));
    if (child == node->children.end()) break;
    node = child->second.get();
    touch(*node);
    bool all_known = true;
    for (std::size_t c = 0; c < caches; ++c) {
      pages[c].push_back(node->pages[c]);
      if (node->pages[c] == kNoPage) known_from[c] = page + 1;
      all_known = all_known && needed_from(c, page + 1) >= known_from[c];
    }
    if (all_known) found.length = page + 1;
  }
  for (std::size_t c = 0; c < caches; ++c) {
    const std::size_t from = needed_from(c, found.length);
    found.runs[c].pages_before = static_cast<std::int32_t>(from);
    found.runs[c].pages.assign(pages[c].begin() + static_cast<std::ptrdiff_t>(from),
                               pages[c].begin() + static_cast<std::ptrdiff_t>(found.length));
  }
  return found;
}

std::vector<PrefixIndex::CachePage> PrefixIndex::add(std::span<const TokenId> tokens, std::size_t length,
                                                     std::span<const PageRun> runs, AdapterId adapter) {
  std::vector<CachePage> taken;
  Node* node = root_.get();
  for (std::size_t number = 0; number < length; ++number) {
    auto& child = node->children[edge(tokens, number, adapter)];
    if (child == nullptr) {
      child = std::make_unique<Node>();
      child->pages.assign(runs.size(), kNoPage);
      child->parent = node;
      file(*node);
    }
    node = child.get();
    bool goes_on = true;
    for (std::size_t c = 0; c < runs.size() && goes_on; ++c) {
      const std::size_t before = static_cast<std::size_t>(runs[c].pages_before);
      if (number < before) continue;
      PageId& page = node->pages[c];
      const PageId ours = runs[c].pages[number - before];
      if (page == kNoPage) {
        page = ours;
        taken.push_back({c, ours});
      }
      // Where all pages are needed, whoever holds one holds those before it in the tree, and whoever holds
      // one in another cache holds that of the same tokens here: so a page that is held never keeps an idle
      // one in.
      goes_on = page == ours || !needs_all(c);
    }
    if (!goes_on) break;
    touch(*node);
  }
  remove_leaves_without_pages(node);
  return taken;
}

void PrefixIndex::remove_leaves_without_pages(Node* node) {
  const auto has_none = [](const Node& n) {
    return std::all_of(n.pages.begin(), n.pages.end(), [](PageId page) { return page == kNoPage; });
  };
  while (node != root_.get() && node->children.empty() && has_none(*node)) {
    Node* const parent = node->parent;
    std::erase_if(parent->children, [&](const auto& child) { return child.second.get() == node; });
    file(*parent);
    node = parent;
  }
}

std::vector<PrefixIndex::CachePage> PrefixIndex::evict(std::size_t cache, const IsIdle& is_idle) {
  const auto all_idle = [&](const Node& node) {
    if (!needs_all(cache)) return is_idle({cache, node.pages[cache]});
    for (std::size_t c = 0; c < node.pages.size(); ++c)
      if (node.pages[c] != kNoPage && !is_idle({c, node.pages[c]})) return false;
    return true;
  };
  const auto at = std::find_if(may_go_[cache].begin(), may_go_[cache].end(),
                               [&](const auto& entry) { return all_idle(*entry.second); });
  if (at == may_go_[cache].end()) return {};
  Node* const node = at->second;
  std::vector<CachePage> forgotten;
  for (std::size_t c = 0; c < node->pages.size(); ++c) {
    if ((c != cache && !needs_all(cache)) || node->pages[c] == kNoPage) continue;
    forgotten.push_back({c, node->pages[c]});
    node->pages[c] = kNoPage;
  }
  file(*node);
  remove_leaves_without_pages(node);
  return forgotten;
}

}  // namespace llm_tp
