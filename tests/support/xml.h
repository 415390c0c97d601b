// Reads a picture's SVG: whether it is whole, and what it says.
#pragma once

#include <regex>
#include <string>
#include <vector>

namespace mta::check {

/// What is wrong with its nesting; empty when every element that opens closes.
inline std::string xml_problem(const std::string& text) {
  static const std::regex tag(R"(<(!--[\s\S]*?--|\?[^>]*\?|![^>]*|/?[A-Za-z][^<>]*)>)");
  std::vector<std::string> open;
  std::size_t at = 0;
  for (std::sregex_iterator found(text.begin(), text.end(), tag), end; found != end; ++found) {
    const std::string between = text.substr(at, std::size_t(found->position()) - at);
    if (between.find('<') != std::string::npos) return "a stray < before: " + found->str();
    at = std::size_t(found->position() + found->length());
    const std::string inside = (*found)[1];
    if (inside.front() == '!' || inside.front() == '?' || inside.back() == '/') continue;
    if (inside.front() != '/') {
      open.push_back(inside.substr(0, inside.find_first_of(" \t\r\n")));
    } else if (open.empty() || "/" + open.back() != inside) {
      return "closed without being open: " + inside;
    } else {
      open.pop_back();
    }
  }
  if (text.find('<', at) != std::string::npos) return "a stray < at the end";
  return open.empty() ? "" : "never closed: " + open.back();
}

/// The texts of a picture, in their order; <tspan> and blanks around them gone.
inline std::vector<std::string> svg_texts(const std::string& svg) {
  static const std::regex element(R"(<text[^>]*>([\s\S]*?)</text>)"), tags("<[^>]*>");
  std::vector<std::string> texts;
  for (std::sregex_iterator found(svg.begin(), svg.end(), element), end; found != end; ++found) {
    std::string text = std::regex_replace((*found)[1].str(), tags, "");
    text.erase(0, text.find_first_not_of(" \n"));
    text.erase(text.find_last_not_of(" \n") + 1);
    texts.push_back(std::move(text));
  }
  return texts;
}

}  // namespace mta::check
