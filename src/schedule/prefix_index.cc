#include "schedule/prefix_index.h"

#include <algorithm>

namespace llm_tp {

PrefixIndex::PrefixIndex(std::int32_t page_tokens)
    : page_tokens_(static_cast<std::size_t>(page_tokens)), root_(std::make_unique<Node>()) {}

PrefixIndex::~PrefixIndex() {
  // A long prompt is a deep tree: it is taken down from its leaves, not by recursion.
  while (evict([](PageId) { return true; })) {
  }
}

std::vector<TokenId> PrefixIndex::edge(std::span<const TokenId> tokens, std::size_t page) const {
  const auto run = tokens.subspan(page * page_tokens_, page_tokens_);
  return {run.begin(), run.end()};
}

/// Every use has a time of its own, so a leaf is found by it.
void PrefixIndex::touch(Node& node) {
  const bool is_leaf = leaves_.erase({node.used, &node}) > 0;
  node.used = ++now_;
  if (is_leaf) leaves_.emplace(node.used, &node);
}

std::vector<PageId> PrefixIndex::find(std::span<const TokenId> tokens, std::size_t most) {
  std::vector<PageId> pages;
  Node* node = root_.get();
  for (std::size_t page = 0; page < std::min(most, tokens.size() / page_tokens_); ++page) {
    const auto child = node->children.find(edge(tokens, page));
    if (child == node->children.end()) break;
    node = child->second.get();
    touch(*node);
    pages.push_back(node->page);
  }
  return pages;
}

std::vector<PageId> PrefixIndex::add(std::span<const TokenId> tokens, std::span<const PageId> pages) {
  std::vector<PageId> taken;
  Node* node = root_.get();
  for (std::size_t page = 0; page < pages.size(); ++page) {
    auto& child = node->children[edge(tokens, page)];
    if (child == nullptr) {
      child = std::make_unique<Node>();
      child->page = pages[page];
      child->parent = node;
      taken.push_back(pages[page]);
      leaves_.erase({node->used, node});
      leaves_.emplace(child->used, child.get());
    }
    // Whoever holds a page holds those before it in the tree: so a page that is held never keeps an idle one
    // in.
    if (child->page != pages[page]) break;
    node = child.get();
    touch(*node);
  }
  return taken;
}

std::optional<PageId> PrefixIndex::evict(const std::function<bool(PageId)>& is_idle) {
  const auto at = std::find_if(leaves_.begin(), leaves_.end(),
                               [&](const auto& leaf) { return is_idle(leaf.second->page); });
  if (at == leaves_.end()) return std::nullopt;
  Node* const node = at->second;
  Node* const parent = node->parent;
  const PageId page = node->page;
  leaves_.erase(at);
  std::erase_if(parent->children, [&](const auto& child) { return child.second.get() == node; });
  if (parent->children.empty() && parent != root_.get()) leaves_.emplace(parent->used, parent);
  return page;
}

}  // namespace llm_tp
